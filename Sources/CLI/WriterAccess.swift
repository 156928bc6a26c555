import Gateway
import Log

/// A data directory that a command has to write to: on its own, or through the socket of the gateway that runs on it.
struct WriterAccess {
    let data: String
    let keyRoot: String
    var log = LogConfiguration()
    /// What the history says why the log was opened.
    let purpose: String

    /// - Parameter offline: what to do when no gateway runs; otherwise the request is sent to the one that does.
    func ask(
        _ method: String,
        _ path: String,
        _ body: [UInt8],
        timeout: Duration = .seconds(30),
        offline: (Ledger) async throws -> [UInt8]
    ) async throws -> [UInt8] {
        do {
            // A gateway that runs does the work itself, as its own user; whoever may open its socket may ask.
            let isFree = (try? DirectoryLock.refuseHeld(directory: data)) != nil
            if isFree { try DataOwner.check(data) }
            let ledger = try await Ledger.open(
                directory: data,
                root: try RootKeys.holder(keyRoot),
                configuration: log,
                version: WaybillVersion.current,
                isSandbox: false
            )
            do {
                let answer = try await offline(ledger)
                await ledger.close(reason: purpose)
                return answer
            } catch {
                await ledger.close(reason: purpose + " failed")
                throw error
            }
        } catch let error as LogError where error.code == .locked {
            return try await ControlClient(data: data).call(method, path, body, timeout: timeout)
        }
    }
}
