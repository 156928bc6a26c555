import Log
import TestSupport
import Testing

/// Files that are written past the cache of pages, on the real disk.
@Suite struct DirectWriteTests {
    private let directory = TemporaryDirectory()

    @Test func wholePagesAreWritten() throws {
        let path = directory.path + "/file"
        let file = try PosixStorage().open(path, .createUncached)
        let pages = UnsafeMutableRawBufferPointer.allocate(byteCount: 8192, alignment: 4096)
        defer { pages.deallocate() }
        pages.initializeMemory(as: UInt8.self, repeating: 0xA5)
        try file.write(UnsafeRawBufferPointer(pages), at: 4096)
        try file.sync()
        let expected = [UInt8](repeating: 0, count: 4096) + [UInt8](repeating: 0xA5, count: 8192)
        #expect(try PosixStorage().bytes(of: path) == expected)
    }

    /// Some file systems take such files and then only larger pages.
    @Test func whatTheFileSystemRefusesGoesThroughTheCache() throws {
        let path = directory.path + "/file"
        let file = try PosixStorage().open(path, .createUncached)
        let bytes = (0..<777).map { UInt8($0 % 251) }
        try file.writeAll(bytes, at: 3)
        try file.sync()
        #expect(try PosixStorage().bytes(of: path) == [0, 0, 0] + bytes)
        let uncached = try PosixStorage().open(path, .readUncached)
        var read = [UInt8](repeating: 0, count: 100)
        let count = try read.withUnsafeMutableBytes { try uncached.read(into: $0, at: 3) }
        #expect(count == 100)
        #expect(read == Array(bytes.prefix(100)))
    }

    @Test func whatExistsIsNotCreatedAnew() throws {
        let path = directory.path + "/file"
        _ = try PosixStorage().open(path, .create)
        #expect(throws: LogError(.inputOutput, "")) { try PosixStorage().open(path, .createUncached) }
    }
}
