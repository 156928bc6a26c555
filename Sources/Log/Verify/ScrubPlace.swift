/// Where the background check goes on after a restart: the file `scrub`, which may be missing or wrong and may be removed.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | magic "WBSCRUB1" |
/// | 8 | 4 | CRC-32C of bytes 12..<32 |
/// | 12 | 4 | zero |
/// | 16 | 8 | number of the segment that is read next |
/// | 24 | 8 | when the one before it had been read, in UTC nanoseconds |
struct ScrubPlace: Equatable {
    static let fileName = "scrub"
    private static let magic: UInt64 = 0x3142_5552_4353_4257
    private static let size = 32

    var segment: UInt64
    var time: UInt64

    /// Nil where there is nothing to go on from. Then the check begins with the first segment, which costs only time.
    static func load(_ directory: String, _ storage: any Storage) -> ScrubPlace? {
        let bytes = try? storage.readAll(directory + "/" + fileName, limit: size)
        return bytes?.withUnsafeBytes { ScrubPlace($0) }
    }

    func store(_ directory: String, _ storage: any Storage) throws(LogError) {
        try storage.replaceFile(directory + "/" + ScrubPlace.fileName, with: encoded)
    }

    init(segment: UInt64, time: UInt64) {
        self.segment = segment
        self.time = time
    }

    init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count == ScrubPlace.size, bytes.integer(0, as: UInt64.self) == ScrubPlace.magic,
            bytes.integer(8, as: UInt32.self) == Checksum.crc32c(bytes, 12..<ScrubPlace.size)
        else { return nil }
        segment = bytes.integer(16, as: UInt64.self)
        time = bytes.integer(24, as: UInt64.self)
    }

    private var encoded: [UInt8] {
        var page = [UInt8](repeating: 0, count: ScrubPlace.size)
        page.withUnsafeMutableBytes { bytes in
            var writer = LittleEndianWriter(bytes)
            writer.write(ScrubPlace.magic, at: 0)
            writer.write(segment, at: 16)
            writer.write(time, at: 24)
            writer.write(Checksum.crc32c(UnsafeRawBufferPointer(bytes), 12..<ScrubPlace.size), at: 8)
        }
        return page
    }
}
