package import Log
import Synchronization

/// Who is using the files of which message, so that a purge can end it: what is served, what is being fetched.
package final class MediaUses: Sendable {
    private struct Use: Sendable {
        let end: @Sendable () -> Void
        /// Whether it goes on for a moment after it was told to end.
        let isSlow: Bool
    }

    private struct State: Sendable {
        var next: UInt64 = 0
        var open: [LogPosition: [UInt64: Use]] = [:]
    }

    private let state = Mutex(State())

    package init() {}

    /// To be called before anyone asks whether the message is purged: then either the purge finds the use, or that question
    /// finds the purge.
    ///
    /// - Parameters:
    ///   - isSlow: whether it lasts until `finish` after it was told to end.
    ///   - end: makes it let go of key and file. Called at most once, from any thread.
    package func begin(_ message: LogPosition, isSlow: Bool, end: @escaping @Sendable () -> Void) -> UInt64 {
        state.withLock { state in
            state.next += 1
            state.open[message, default: [:]][state.next] = Use(end: end, isSlow: isSlow)
            return state.next
        }
    }

    package func finish(_ use: UInt64, of message: LogPosition) {
        state.withLock { state in
            state.open[message]?[use] = nil
            if state.open[message]?.isEmpty == true { state.open[message] = nil }
        }
    }

    /// Ends every use of the files of these messages; when this returns nobody has a key or a descriptor of theirs.
    package func end(_ messages: some Collection<LogPosition> & Sendable) async {
        let uses = state.withLock { state in
            messages.flatMap { message in (state.open[message] ?? [:]).values.map { $0 } }
        }
        for use in uses { use.end() }
        while isUsed(messages) { try? await Task.sleep(for: .milliseconds(5)) }
    }

    private func isUsed(_ messages: some Collection<LogPosition>) -> Bool {
        state.withLock { state in
            messages.contains { message in state.open[message]?.values.contains(where: \.isSlow) ?? false }
        }
    }
}

/// A file that is open to be read, until it is let go or its message is purged.
final class OpenMediaFile: Sendable {
    private let message: LogPosition
    private let content: Content
    private let uses: MediaUses
    private let use: UInt64

    /// - Parameter open: opens the file; called when a purge finds this use already.
    fileprivate init(_ message: LogPosition, _ uses: MediaUses, open: () throws -> SealedFileReader) throws {
        let content = Content()
        self.message = message
        self.content = content
        self.uses = uses
        use = uses.begin(message, isSlow: false) { content.close() }
        content.set(try open())
    }

    deinit {
        content.close()
        uses.finish(use, of: message)
    }

    /// Plaintext of one chunk.
    ///
    /// - Throws: `bodyPurged` once the message is purged.
    func chunk(_ number: Int) throws -> [UInt8] { try content.read { try $0.chunk(number) } }

    func bytes() throws -> UInt64 { try content.read { $0.bytes } }

    func chunkCount() throws -> Int { try content.read { $0.chunkCount } }

    /// Key and descriptor. Apart, because who may close it must not keep the file itself.
    private final class Content: Sendable {
        private enum State {
            case opening
            case open(SealedFileReader)
            case closed
        }

        private let state = Mutex(State.opening)

        /// Nothing when it was closed meanwhile.
        func set(_ reader: SealedFileReader) {
            state.withLock { state in
                if case .opening = state { state = .open(reader) }
            }
        }

        /// Lets go of both, once what is being read of them has been read.
        func close() { state.withLock { $0 = .closed } }

        /// The lock is held while a chunk is read: whoever closes knows afterwards that nobody has the descriptor.
        func read<Value>(_ part: (SealedFileReader) throws -> sending Value) throws -> sending Value {
            try state.withLock { state in
                guard case .open(let reader) = state else { throw GatewayError.purged }
                return try part(reader)
            }
        }
    }
}

extension MediaShelf {
    /// - Throws: `bodyPurged`, or what is wrong with the file.
    func open(_ message: LogPosition, _ index: Int) throws -> OpenMediaFile {
        try OpenMediaFile(message, uses) { try reader(message, index) }
    }
}
