import Log
import TestSupport
import Testing

@Suite struct GroupFrameTests {
    private static let logID = LogID.random()
    private static let header = GroupHeader(
        bodyCount: 480,
        first: LogPosition(100),
        last: LogPosition(104),
        bodyChecksum: 0xDEAD_BEEF,
        firstTime: 1_700_000_000_000_000_001,
        link: Digest([UInt8](repeating: 0x77, count: 32)) ?? .zero,
        logID: logID
    )

    @Test func aHeaderSurvivesEncodingAndDecoding() {
        #expect(Self.encode(Self.header).withUnsafeBytes { GroupHeader($0) } == Self.header)
    }

    @Test func theLayoutIsThePublishedOne() {
        let bytes = Self.encode(Self.header)
        #expect(bytes.count == 96)
        #expect(bytes[0..<4] == [UInt8]("WBG1".utf8)[...])
        #expect(bytes[8..<16] == [1, 0, 0, 0, 0xE0, 1, 0, 0])
        #expect(bytes[16..<32] == [100, 0, 0, 0, 0, 0, 0, 0, 104, 0, 0, 0, 0, 0, 0, 0])
        #expect(bytes[32..<40] == [0xEF, 0xBE, 0xAD, 0xDE, 0, 0, 0, 0])
        #expect(bytes[48..<80] == [UInt8](repeating: 0x77, count: 32)[...])
        #expect(Array(bytes[80..<96]) == Self.logID.bytes)
    }

    @Test func everyChangedBitIsNoticed() {
        let bytes = Self.encode(Self.header)
        for bit in 0..<(bytes.count * 8) {
            var changed = bytes
            changed[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(changed.withUnsafeBytes { GroupHeader($0) == nil }, "bit \(bit)")
        }
    }

    @Test func cutOffHeadersAreRefused() {
        let bytes = Self.encode(Self.header)
        for count in 0..<96 { #expect(Array(bytes.prefix(count)).withUnsafeBytes { GroupHeader($0) == nil }) }
    }

    @Test(arguments: [(0, 4), (5, 4), (1, 0), (1, 481), (1, UInt64.max), (UInt64.max, 3)] as [(UInt64, UInt64)])
    func positionsThatCannotBeAreRefused(_ first: UInt64, _ last: UInt64) {
        let header = GroupHeader(
            bodyCount: 480,
            first: LogPosition(first),
            last: LogPosition(last),
            bodyChecksum: 0,
            firstTime: 0,
            link: .zero,
            logID: Self.logID
        )
        #expect(Self.encode(header).withUnsafeBytes { GroupHeader($0) == nil })
    }

    @Test func aLinkNamesOneHeaderAndNoBody() {
        let bytes = Self.encode(Self.header)
        let link = bytes.withUnsafeBytes { GroupHeader.linkValue(of: $0) }
        #expect((bytes + [1, 2, 3]).withUnsafeBytes { GroupHeader.linkValue(of: $0) } == link)
        #expect(link == Digest(Crypto.sha256(bytes)))
    }

    private static func encode(_ header: GroupHeader) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 96)
        bytes.withUnsafeMutableBytes { header.encode(into: $0) }
        return bytes
    }
}
