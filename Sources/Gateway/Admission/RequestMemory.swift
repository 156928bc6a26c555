package import Log
import Synchronization

/// What the bodies of all requests that are being worked on hold in memory. A body is claimed before it is read.
///
/// Short bodies have a part of their own, which long ones cannot use up: whoever sends megabytes keeps no message of a few
/// hundred bytes out.
package final class RequestMemory: Sendable {
    /// Whom memory is charged to.
    package enum Account: Hashable, Sendable {
        case address(SourceAddress)
        case client(LogPosition)
    }

    fileprivate enum Part {
        case short
        case long
    }

    private struct State {
        var short: MemoryTable<Account>
        var long: MemoryTable<Account>

        subscript(_ part: Part) -> MemoryTable<Account> {
            get { part == .short ? short : long }
            set { if part == .short { short = newValue } else { long = newValue } }
        }
    }

    /// The longest body that counts as short, in bytes.
    package static let shortMax = 64 << 10
    /// A body is held twice: as it came, in a buffer that grows by doubling, and as the bytes that are worked on.
    package static let copies = 2

    private let state: Mutex<State>
    private let metrics: GatewayMetrics

    /// - Parameter bytes: for everything together: a quarter for short bodies, the rest for long ones. One address, and one
    ///   client, has at most half of the short part and a third of the long one.
    package init(bytes: Int, metrics: GatewayMetrics) {
        let (short, long) = (bytes / 4, bytes - bytes / 4)
        state = Mutex(
            State(
                short: MemoryTable(most: short, mostPerAccount: short / 2),
                long: MemoryTable(most: long, mostPerAccount: long / 3)
            )
        )
        self.metrics = metrics
    }

    package var bytes: Int { state.withLock { $0.short.total + $0.long.total } }

    /// What one request holds. It is given back when this goes.
    package final class Claim: Sendable {
        fileprivate struct Held {
            var accounts: [Account]
            fileprivate var part: Part = .short
            var bytes = 0
        }

        private let memory: RequestMemory
        private let held: Mutex<Held>

        fileprivate init(_ memory: RequestMemory, _ account: Account?) {
            self.memory = memory
            held = Mutex(Held(accounts: account.map { [$0] } ?? []))
        }

        deinit { release() }

        /// Charges a client too, with what is claimed from now on.
        package func belongs(to client: LogPosition) {
            held.withLock { held in
                if held.bytes == 0 { held.accounts.append(.client(client)) }
            }
        }

        /// - Parameter length: of the body that is to be held, as it is known by now, in bytes.
        /// - Throws: `overloaded` when there is no room for it. What was claimed stays claimed.
        package func reach(_ length: Int) throws(GatewayError) {
            let isIn = held.withLock { held in
                let wanted = length.multipliedReportingOverflow(by: RequestMemory.copies)
                let bytes = wanted.overflow ? Int.max : wanted.partialValue
                if bytes <= held.bytes { return true }
                let part = length <= RequestMemory.shortMax ? Part.short : .long
                return memory.move(held: &held, to: part, bytes)
            }
            if isIn { return }
            memory.metrics.count("waybill_requests_refused_total{reason=\"memory\"}")
            throw GatewayError(.overloaded, "too much is being read at once; try again", retryAfter: 2)
        }

        package func release() {
            held.withLock { held in
                memory.state.withLock { $0[held.part].release(held.bytes, of: held.accounts) }
                held.bytes = 0
            }
        }
    }

    package func claim(for source: SourceAddress?) -> Claim { Claim(self, source.map(Account.address)) }

    private func move(held: inout Claim.Held, to part: Part, _ bytes: Int) -> Bool {
        state.withLock { state in
            let known = held.part == part ? held.bytes : 0
            guard state[part].claim(bytes - known, for: held.accounts) else { return false }
            if held.part != part { state[held.part].release(held.bytes, of: held.accounts) }
            held.part = part
            held.bytes = bytes
            return true
        }
    }
}
