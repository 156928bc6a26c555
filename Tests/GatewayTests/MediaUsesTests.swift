import Gateway
import Log
import Synchronization
import Testing

/// Who uses files, and how much memory they take on their way.
@Suite(.timeLimit(.minutes(1)))
struct MediaUsesTests {
    private let message = LogPosition(7)
    private let other = LogPosition(8)

    // MARK: Uses

    @Test func whoReadsIsToldAndNotWaitedFor() async {
        let uses = MediaUses()
        let told = Mutex(0)
        _ = uses.begin(message, isSlow: false) { told.withLock { $0 += 1 } }
        await uses.end([message])
        #expect(told.withLock { $0 } == 1)
    }

    @Test func whoFetchesIsWaitedFor() async throws {
        let (uses, message) = (MediaUses(), message)
        let (told, tell) = AsyncStream.makeStream(of: Void.self)
        let use = uses.begin(message, isSlow: true) { tell.finish() }
        let isOver = Atomic(false)
        async let end: Void = {
            await uses.end([message])
            isOver.store(true, ordering: .relaxed)
        }()
        for await _ in told {}
        try await Task.sleep(for: .milliseconds(30))
        let wasOver = isOver.load(ordering: .relaxed)
        #expect(!wasOver)
        uses.finish(use, of: message)
        await end
    }

    @Test func othersGoOn() async {
        let uses = MediaUses()
        let told = Mutex(0)
        let use = uses.begin(message, isSlow: true) { told.withLock { $0 += 1 } }
        await uses.end([other])
        uses.finish(use, of: message)
        await uses.end([message])
        #expect(told.withLock { $0 } == 0)
    }

    // MARK: Memory

    @Test func oneClientLeavesHalfOfWhatIsFree() {
        let memory = InlineMemory(most: 100)
        #expect(memory.take(30, for: LogPosition(1), of: message))
        #expect(!memory.take(30, for: LogPosition(2), of: message))
        #expect(memory.take(50, for: LogPosition(3), of: other))
        memory.give(LogPosition(3))
        memory.give(LogPosition(1))
        #expect(memory.take(30, for: LogPosition(2), of: message))
    }

    @Test func whatIsTooLargeForAllHasItsTurn() {
        let memory = InlineMemory(most: 100)
        #expect(memory.take(1000, for: LogPosition(1), of: message))
        #expect(memory.take(1000, for: LogPosition(2), of: other))
        #expect(!memory.take(1, for: LogPosition(3), of: LogPosition(9)))
        memory.give(LogPosition(2))
        #expect(memory.take(1, for: LogPosition(3), of: LogPosition(9)))
        #expect(!memory.take(0x7FFF_FFFF, for: LogPosition(4), of: LogPosition(10)), "half, and one of it is taken")
    }

    @Test func whoWasRefusedFirstIsNotPassedOver() {
        let memory = InlineMemory(most: 100)
        #expect(memory.take(40, for: LogPosition(1), of: message))
        #expect(memory.take(40, for: LogPosition(2), of: other))
        #expect(!memory.take(50, for: LogPosition(3), of: LogPosition(9)))
        memory.give(LogPosition(1))
        #expect(!memory.take(40, for: LogPosition(4), of: LogPosition(10)), "this room is kept")
        #expect(memory.take(50, for: LogPosition(3), of: LogPosition(9)))
    }

    @Test func nothingTakesNothing() {
        let memory = InlineMemory(most: 0)
        #expect(memory.take(0, for: LogPosition(1), of: message))
        memory.give(LogPosition(1))
    }
}
