import Foundation
import Log
import TestSupport
import Testing

/// Old bytes stay readable for ever. `Tests/Golden/README.md` says what the files hold.
@Suite struct GoldenFilesTests {
    private static let root = "d81afe805560a78a2e1dcb151174f0c4c7067ddaf64a943ada23bf0c82e0bbb0"
    private static let sizes = [
        "00000000000000000001.wal": 32_768, "00000000000000000002.wal": 28_672, "00000000000000000003.wal": 1 << 20,
        "epochs.key": 144, "root.key": 65,
    ]

    /// The files, with the zeros at their ends.
    private func restore() throws -> TemporaryDirectory {
        let directory = TemporaryDirectory()
        let golden = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("Golden/format-1")
        for (name, size) in Self.sizes {
            let bytes = [UInt8](try Data(contentsOf: golden.appendingPathComponent(name)))
            let file = try PosixStorage().open(directory.path + "/" + name, .create)
            try file.writeAll(bytes, at: 0)
            try file.truncate(to: size)
        }
        return directory
    }

    @Test func formatOneVerifies() throws {
        let directory = try restore()
        let report = try LogVerifier(directory: directory.path).run()
        #expect(report.findings.isEmpty)
        #expect(report.records == 16)
        #expect(Hex.encode(report.root.bytes) == Self.root)
    }

    @Test func formatOneGoesOn() async throws {
        let directory = try restore()
        let log = try EventLog.open(directory: directory.path, configuration: .small())
        #expect(log.durable == LogPosition(16))
        #expect(log.recovery.rewritten == 0)
        #expect(Hex.encode(log.frontier.root.bytes) == Self.root)
        try await log.appendDurably([.plain(1)])
        log.close()
        let checkpoint = Checkpoint(
            origin: "",
            size: 16,
            root: try #require(Hex.decode(Self.root).flatMap { Digest($0) })
        )
        let report = try LogVerifier(directory: directory.path, checkpoints: [checkpoint]).run()
        #expect(report.findings.isEmpty)
        #expect(report.records == 17)
    }

    @Test func bodiesOfFormatOneOpen() throws {
        let directory = try restore()
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
