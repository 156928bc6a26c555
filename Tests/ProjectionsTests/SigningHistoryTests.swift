import Log
import Projections
import Testing

/// A checkpoint is judged by the key of its time: over rotations, restores and both.
@Suite struct SigningHistoryTests {
    private static let old = "waybill/old"
    private static let new = "waybill/new"

    private func signer(_ seed: UInt8, _ name: String = old) throws -> NoteSigner {
        try #require(NoteSigner(name: name, seed: [UInt8](repeating: seed, count: 32)))
    }

    private func judge(
        _ history: SigningHistory,
        _ signer: NoteSigner,
        _ size: UInt64,
        by keys: [VerifierKey]? = nil,
        isOurs: Bool = true
    ) -> SigningHistory.Judgement {
        let checkpoint = Checkpoint(origin: signer.verifierKey.name, size: size, root: .zero)
        return history.judge(signer.sign(checkpoint.text), of: checkpoint, by: keys, isOurs: isOurs)
    }

    private func record(_ event: Event, at position: UInt64) -> EventRecord {
        EventRecord(
            event,
            position: LogPosition(position),
            time: Timestamp(position),
            client: .zero,
            conversation: .zero,
            message: .zero,
            subject: .zero
        )
    }

    private func rotated(_ signer: NoteSigner, at position: UInt64) -> EventRecord {
        var event = LogKeyRotated()
        event.verifierKeyAfter = signer.verifierKey.description
        return record(.logKeyRotated(event), at: position)
    }

    private func restored(at position: UInt64, backup: UInt64, isNewLog: Bool = true) -> EventRecord {
        var event = LogRestored()
        event.backupPosition = LogPosition(backup)
        event.logId = RawBytes(isNewLog ? [1, 2, 3, 4] : [])
        return record(.logRestored(event), at: position)
    }

    private func history(_ records: [EventRecord]) -> SigningHistory {
        var history = SigningHistory()
        for record in records { history.apply(record) }
        return history
    }

    @Test func afterARotationTheKeyOfItsTimeCounts() throws {
        let (a, b) = (try signer(1), try signer(2))
        let history = history([rotated(a, at: 3), rotated(b, at: 20)])
        #expect(judge(history, a, 3) == .genuine)
        #expect(judge(history, a, 19) == .genuine)
        #expect(judge(history, b, 20) == .genuine)
        #expect(judge(history, a, 20) == .outOfTime(a.verifierKey, from: LogPosition(3), through: LogPosition(19)))
        #expect(judge(history, b, 19) == .outOfTime(b.verifierKey, from: LogPosition(20), through: nil))
        // Who gives a key means that one.
        #expect(judge(history, a, 10, by: [a.verifierKey]) == .genuine)
        #expect(judge(history, a, 10, by: [b.verifierKey]) == .unsigned)
    }

    @Test func aKeyThatIsNotNamedProvesNothing() throws {
        let (a, stranger) = (try signer(1), try signer(9))
        let history = history([rotated(a, at: 3)])
        #expect(judge(history, stranger, 10) == .unsigned)
        #expect(judge(history, stranger, 10, by: [stranger.verifierKey]) == .unnamed)
        #expect(judge(history, a, 10, by: [stranger.verifierKey]) == .unsigned)
        let other = try signer(1, "waybill/other")
        #expect(judge(history, other, 10, by: [other.verifierKey], isOurs: false) == .foreign)
    }

    @Test func behindTheBackupOfARestoreIsAnAbandonedBranch() throws {
        let (a, b, lost) = (try signer(1), try signer(1, Self.new), try signer(3))
        let history = history([rotated(a, at: 3), restored(at: 22, backup: 20), rotated(b, at: 25)])
        let branch = SigningHistory.Judgement.abandoned(
            SigningHistory.Branch(position: LogPosition(22), shared: LogPosition(20))
        )
        #expect(judge(history, a, 20) == .genuine)
        #expect(judge(history, a, 20, isOurs: false) == .genuine, "the root is what is wrong with it")
        #expect(judge(history, a, 21, isOurs: false) == branch)
        #expect(judge(history, a, 40, isOurs: false) == branch)
        // The same seed under the new name is another key.
        #expect(judge(history, b, 30) == .genuine)
        #expect(judge(history, b, 10) == .outOfTime(b.verifierKey, from: LogPosition(25), through: nil))
        // The key was replaced in the branch that nobody here knows.
        #expect(judge(history, lost, 40, by: [lost.verifierKey], isOurs: false) == branch)
        #expect(judge(history, lost, 10, by: [lost.verifierKey]) == .unnamed)
    }

    @Test func rotationsBeforeAndAfterARestore() throws {
        let (a, b, c, d) = (try signer(1), try signer(2), try signer(2, Self.new), try signer(4, Self.new))
        let history = history([
            rotated(a, at: 3), rotated(b, at: 10), restored(at: 22, backup: 20), rotated(c, at: 25), rotated(d, at: 30),
        ])
        #expect(judge(history, a, 9) == .genuine)
        #expect(judge(history, b, 10) == .genuine)
        #expect(judge(history, b, 20) == .genuine)
        #expect(judge(history, c, 29) == .genuine)
        #expect(judge(history, d, 30) == .genuine)
        #expect(
            judge(history, a, 21, isOurs: false)
                == .outOfTime(a.verifierKey, from: LogPosition(3), through: LogPosition(9))
        )
        #expect(judge(history, c, 30) == .outOfTime(c.verifierKey, from: LogPosition(25), through: LogPosition(29)))
    }

    @Test func aRestoreOfTheKeysAloneChangesNothing() throws {
        let a = try signer(1)
        let history = history([rotated(a, at: 3), restored(at: 22, backup: 20, isNewLog: false)])
        #expect(judge(history, a, 40) == .genuine)
    }

    @Test func behindTheFirstLossOfASalvageIsAnAbandonedBranch() throws {
        let a = try signer(1)
        var event = LogSalvaged()
        event.through = LogPosition(30)
        event.lost.values = [LogPosition(12), LogPosition(14)]
        let history = history([rotated(a, at: 3), record(.logSalvaged(event), at: 32)])
        let branch = SigningHistory.Judgement.abandoned(
            SigningHistory.Branch(position: LogPosition(32), shared: LogPosition(11))
        )
        #expect(judge(history, a, 11) == .genuine)
        #expect(judge(history, a, 25, isOurs: false) == branch)
    }
}
