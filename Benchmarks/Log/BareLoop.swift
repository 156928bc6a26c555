import Glibc
import Log
import Synchronization

/// The least that group commit costs: opaque bytes gathered under a lock, one pwrite and one fdatasync for all that
/// gathered, into a file of zeros that is written round and round.
final class BareLoop: Sink {
    private struct State: Sendable {
        var pending: [UInt8] = []
        var waiters: [CheckedContinuation<Void, Never>] = []
    }

    private static let fileBytes = 1 << 30
    private let descriptor: Int32
    private let state = Mutex(State())
    private let record = [UInt8](repeating: 65, count: 512)
    private let bell: AsyncStream<Void>.Continuation

    init(_ directory: String) throws {
        mkdir(directory, 0o700)
        descriptor = Glibc.open(directory + "/bare", O_RDWR | O_CREAT | O_TRUNC, 0o600)
        let zeros = [UInt8](repeating: 0, count: 1 << 20)
        for offset in stride(from: 0, to: BareLoop.fileBytes, by: zeros.count) {
            guard pwrite(descriptor, zeros, zeros.count, off_t(offset)) == zeros.count else {
                throw LogError(.inputOutput, "could not fill the file")
            }
        }
        fdatasync(descriptor)
        posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED)
        let (stream, bell) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        self.bell = bell
        Task.detached { [self] in
            var offset = 0
            for await _ in stream {
                while let next = flush(at: offset) { offset = next }
            }
        }
    }

    func store(_ count: Int) async throws {
        await withCheckedContinuation { continuation in
            state.withLock { state in
                for _ in 0..<count { state.pending.append(contentsOf: record) }
                state.waiters.append(continuation)
            }
            bell.yield()
        }
    }

    /// Writes and syncs what gathered; nil when nothing did.
    private func flush(at offset: Int) -> Int? {
        var (bytes, waiters) = state.withLock { state in
            defer { state = State() }
            return (state.pending, state.waiters)
        }
        if waiters.isEmpty { return nil }
        let aligned = (bytes.count + 4095) / 4096 * 4096
        bytes.append(contentsOf: repeatElement(0, count: aligned - bytes.count))
        let start = offset + aligned <= BareLoop.fileBytes ? offset : 0
        let written = pwrite(descriptor, bytes, bytes.count, off_t(start))
        precondition(written == bytes.count && fdatasync(descriptor) == 0, "the disk failed")
        for waiter in waiters { waiter.resume() }
        return start + aligned
    }
}
