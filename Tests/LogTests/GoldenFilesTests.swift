import Foundation
import Log
import TestSupport
import Testing

/// Old bytes stay readable for ever. `Tests/Golden/README.md` says what the files hold.
@Suite struct GoldenFilesTests {
    /// The root of the first 16 records, which every one of the logs begins with.
    private static let root16 = "d81afe805560a78a2e1dcb151174f0c4c7067ddaf64a943ada23bf0c82e0bbb0"

    struct Golden: Sendable, CustomTestStringConvertible {
        let folder: String
        /// Files by name, with the zeros at their ends.
        let sizes: [String: Int]
        let records: UInt64
        let root: String
        var testDescription: String { folder }

        static let written = Golden(
            folder: "format-1",
            sizes: [
                "00000000000000000001.wal": 32_768, "00000000000000000002.wal": 28_672,
                "00000000000000000003.wal": 1 << 20, "keys-1": 196_804, "root.key": 8192,
            ],
            records: 16,
            root: root16
        )
        static let sealed = Golden(
            folder: "format-1-sealed",
            sizes: [
                "00000000000000000001.sealed": 8192, "00000000000000000002.sealed": 8192,
                "00000000000000000003.sealed": 8192, "00000000000000000004.wal": 1 << 20, "keys-1": 196_860,
                "root.key": 8192,
            ],
            records: 23,
            root: "5d04d34788920c999703a8441be15e261d4b483b26a1e862644ba10703e0b486"
        )
        static let all = [written, sealed]

        /// A copy of the files in a directory of its own.
        func restore() throws -> TemporaryDirectory {
            let directory = TemporaryDirectory()
            let golden = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
                .appendingPathComponent("Golden/" + folder)
            for (name, size) in sizes {
                let bytes = [UInt8](try Data(contentsOf: golden.appendingPathComponent(name)))
                let file = try PosixStorage().open(directory.path + "/" + name, .create)
                try file.writeAll(bytes, at: 0)
                try file.truncate(to: size)
            }
            return directory
        }
    }

    @Test(arguments: Golden.all) func theyVerify(_ golden: Golden) throws {
        let directory = try golden.restore()
        let report = try LogVerifier(directory: directory.path).run()
        #expect(report.findings.isEmpty)
        #expect(report.records == golden.records)
        #expect(Hex.encode(report.root.bytes) == golden.root)
    }

    @Test(arguments: Golden.all) func theyGoOn(_ golden: Golden) async throws {
        let directory = try golden.restore()
        let log = try EventLog.open(directory: directory.path, configuration: .small())
        #expect(log.durable == LogPosition(golden.records))
        #expect(log.recovery.rewritten == 0)
        #expect(Hex.encode(log.frontier.root.bytes) == golden.root)
        try await log.appendDurably([.plain(1)])
        log.close()
        let checkpoint = Checkpoint(
            origin: "",
            size: 16,
            root: try #require(Hex.decode(Self.root16).flatMap { Digest($0) })
        )
        let report = try LogVerifier(directory: directory.path, checkpoints: [checkpoint]).run()
        #expect(report.findings.isEmpty)
        #expect(report.records == golden.records + 1)
    }

    /// Sealed or not, a record is the same.
    @Test func sealedRecordsAreTheWrittenOnes() throws {
        let (written, sealed) = (try Golden.written.restore(), try Golden.sealed.restore())
        var records: [[StoredRecord]] = []
        for directory in [written, sealed] {
            var read: [StoredRecord] = []
            let last = LogPosition(16)
            try ReadOnlyLog(directory: directory.path).reader.scan(from: LogPosition(1), through: last) {
                read.append(StoredRecord($0))
            }
            records.append(read)
        }
        let bytes = records.map { $0.map { $0.withView { [UInt8]($0.payload) + [UInt8]($0.sealed) } } }
        #expect(bytes[0].count == 16 && bytes[0] == bytes[1])
    }

    @Test(arguments: Golden.all) func bodiesOpen(_ golden: Golden) throws {
        let directory = try golden.restore()
        let keys = try KeyStore.openForReading(
            directory: directory.path,
            root: RootKeyFile(path: directory.path + "/root.key"),
            storage: PosixStorage()
        )
        let record = try ReadOnlyLog(directory: directory.path).reader.record(at: LogPosition(11))
        let content = record.withView { view -> [UInt8]? in
            guard let section = SealedSection(view.sealed), let key = try? keys.find(section.reference) else {
                return nil
            }
            return section.open(.content, leaf: key, position: view.position)
        }
        #expect(String(decoding: try #require(content), as: UTF8.self).contains("golden 1"))
    }
}
