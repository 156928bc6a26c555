import Gateway
import Glibc
import Log
import Testing

/// What is tried again without being counted as an attempt.
@Suite struct LocalShortageTests {
    @Test(arguments: [EMFILE, ENFILE, ENOMEM])
    func aLackThatPassesIsOne(_ number: Int32) {
        #expect(LocalShortage.isOne(LogError(before: "open", "a segment", errno: number)))
    }

    /// It lasts until somebody changes it, and each try would be two records more.
    @Test func aFileThatMayNotBeOpenedIsNone() {
        let error = LogError(before: "open", "a segment", errno: EACCES)
        #expect(error.isTransient)
        #expect(!LocalShortage.isOne(error))
    }

    /// A read or a sync that failed, with whatever number, is in doubt.
    @Test func whatFailedLaterIsNone() {
        #expect(!LocalShortage.isOne(LogError(.inputOutput, "could not read a segment", errno: ENOMEM)))
        #expect(!LocalShortage.isOne(CancellationError()))
    }
}
