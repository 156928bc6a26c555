import Glibc
import Log
import Synchronization
import TestSupport
import Testing

/// What a crash, a failing disk or a change of mind leaves of a file that is being written.
@Suite struct SealedFileCrashTests {
    private let sample = SealedFileSample()
    private let plaintext = SealedFileSample.plaintext(150_000)

    private func images(_ body: (SimulatedStorage, UInt64) throws -> Void) throws {
        for seed in UInt64(0)..<100 {
            var generator = SeededGenerator(seed: seed)
            let options = CrashOptions(lostSectors: seed % 2 == 0 ? .old : .garbage)
            try body(sample.storage.crash(using: &generator, options), seed)
        }
    }

    private func append(_ bytes: [UInt8], to writer: SealedFileWriter) throws {
        try bytes.withUnsafeBytes { try writer.append($0) }
    }

    // MARK: Crashes

    @Test func beforeItIsFinishedNoFileHasTheName() throws {
        let writer = try sample.begin()
        try append(plaintext, to: writer)
        try withExtendedLifetime(writer) {
            try images { image, seed in
                #expect(!image.paths.contains(SealedFileSample.path), "seed \(seed)")
                #expect(throws: LogError(.inputOutput, "")) { _ = try sample.open(on: image) }
            }
        }
    }

    @Test func afterItIsFinishedTheFileIsThereForGood() throws {
        try sample.write(plaintext)
        try images { image, seed in
            #expect(image.paths == [SealedFileSample.path], "seed \(seed)")
            #expect((try? sample.read(on: image)) == plaintext, "seed \(seed)")
        }
    }

    /// Before each call that writing a file makes, in many ways.
    @Test func aCrashLeavesTheWholeFileOrNone() throws {
        let (file, content) = (sample, plaintext)
        let outcomes = Mutex<Set<Bool>>([])
        sample.storage.setHook { call, storage in
            for seed in UInt64(0)..<20 {
                var generator = SeededGenerator(seed: UInt64(call.number) * 1000 + seed)
                let image = storage.crash(using: &generator, CrashOptions(lostSectors: .garbage))
                let isThere = image.paths.contains(SealedFileSample.path)
                outcomes.withLock { _ = $0.insert(isThere) }
                if isThere { #expect((try? file.read(on: image)) == content, "\(call), seed \(seed)") }
            }
            return nil
        }
        try sample.write(plaintext)
        sample.storage.setHook(nil)
        let seen = outcomes.withLock { $0 }
        #expect(seen == [false, true])
    }

    /// What an earlier process left under the name that is written to is no part of the new file.
    @Test func anOldPartIsReplaced() throws {
        try sample.storage.replaceFile(SealedFileSample.part, with: SealedFileSample.plaintext(300_000))
        try sample.write([1, 2, 3])
        #expect(try sample.read() == [1, 2, 3])
        #expect(sample.storage.paths == [SealedFileSample.path])
    }

    // MARK: Failures

    @Test(arguments: [StorageCall.Kind.sync, .rename, .syncDirectory])
    func aFinishThatFailedIsNotRepeatedAndLeavesNothing(_ kind: StorageCall.Kind) throws {
        let writer = try sample.begin()
        try append(plaintext, to: writer)
        sample.storage.setHook { call, _ in call.kind == kind ? EIO : nil }
        #expect(throws: LogError(.inputOutput, "")) { _ = try writer.finish(as: SealedFileSample.path) }
        sample.storage.setHook(nil)
        let left = sample.storage.contents
        #expect(left.count == 1)
        #expect(throws: LogError(.inputOutput, "")) { _ = try writer.finish(as: SealedFileSample.path) }
        #expect(throws: LogError(.inputOutput, "")) { try append([1], to: writer) }
        #expect(sample.storage.contents == left)
        writer.discard()
        #expect(sample.storage.paths.isEmpty)
    }

    @Test func aFullDiskEndsTheFile() throws {
        sample.storage.setRoom(100_000)
        let writer = try sample.begin()
        #expect(throws: LogError(.diskFull, "")) { try append(plaintext, to: writer) }
        sample.storage.setRoom(nil)
        #expect(throws: LogError(.diskFull, "")) { try append([1], to: writer) }
        #expect(throws: LogError(.diskFull, "")) { _ = try writer.finish(as: SealedFileSample.path) }
        #expect(sample.storage.paths == [SealedFileSample.part])
        writer.discard()
        #expect(sample.storage.paths.isEmpty)
    }

    @Test func aFileThatCannotBeBegunLeavesNothing() throws {
        sample.storage.setHook { call, _ in call.kind == .write ? ENOSPC : nil }
        #expect(throws: LogError(.diskFull, "")) { _ = try sample.begin() }
        #expect(sample.storage.paths.isEmpty)
    }

    // MARK: Ends

    @Test func aFileThatIsDiscardedIsGone() throws {
        let writer = try sample.begin()
        try append(plaintext, to: writer)
        writer.discard()
        #expect(sample.storage.paths.isEmpty)
        #expect(throws: LogError(.closed, "")) { try append([1], to: writer) }
        #expect(throws: LogError(.closed, "")) { _ = try writer.finish(as: SealedFileSample.path) }
        // What another writer has begun under the name meanwhile is not this one's.
        try sample.storage.replaceFile(SealedFileSample.part, with: [1])
        writer.discard()
        #expect(sample.storage.paths == [SealedFileSample.part])
    }

    @Test func aFileThatIsFinishedStays() throws {
        let writer = try sample.begin()
        try append(plaintext, to: writer)
        _ = try writer.finish(as: SealedFileSample.path)
        writer.discard()
        #expect(throws: LogError(.closed, "")) { try append([1], to: writer) }
        #expect(throws: LogError(.closed, "")) { _ = try writer.finish(as: SealedFileSample.path) }
        #expect(try sample.read() == plaintext)
    }
}
