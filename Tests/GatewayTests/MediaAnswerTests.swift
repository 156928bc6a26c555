import Gateway
import Testing

/// How files are served: ranges and names.
@Suite struct MediaAnswerTests {
    @Test(
        arguments: [
            ("bytes=0-9", 0..<10), ("bytes=10-", 10..<100), ("bytes=-10", 90..<100), ("bytes=-1000", 0..<100),
            ("bytes=95-200", 95..<100), ("bytes=99-99", 99..<100), ("bytes=0-9223372036854775807", 0..<100),
            ("bytes=-99999999999999999999", 0..<100),
        ] as [(String, Range<Int>)]
    )
    func aPart(_ header: String, _ range: Range<Int>) {
        let asked = ByteRange.parse(header, length: 100)
        #expect(asked.range == range && asked.isPartial)
    }

    @Test(
        arguments: [
            nil, "", "bytes=", "bytes=-", "bytes=5-4", "bytes=a-b", "bytes=0-1,3-4", "items=0-1", "bytes=+1-2",
            "bytes=-1-2",
        ] as [String?]
    )
    func whatIsNoRangeIsTheWhole(_ header: String?) {
        let asked = ByteRange.parse(header, length: 100)
        #expect(asked.range == 0..<100 && !asked.isPartial)
    }

    @Test(arguments: ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=99999999999999999999-"])
    func whatIsNotThere(_ header: String) { #expect(ByteRange.parse(header, length: 100).range == nil) }

    @Test func nothingHasNoParts() {
        #expect(ByteRange.parse("bytes=0-0", length: 0).range == nil)
        #expect(ByteRange.parse(nil, length: 0).range == 0..<0)
    }

    @Test func namesCannotLeaveTheHeader() {
        #expect(ContentDisposition.attachment("") == "attachment")
        #expect(ContentDisposition.attachment("offer 1.pdf") == "attachment; filename=\"offer 1.pdf\"")
        #expect(
            ContentDisposition.attachment("a\"b\r\nX: é/..\u{202E}")
                == "attachment; filename=\"a_b__X: __.._\"; filename*=UTF-8''a%22b__X%3A%20%C3%A9%2F.._"
        )
    }

    @Test(arguments: [
        ("image/png", "image/png"), ("audio/ogg; codecs=opus", "audio/ogg; codecs=opus"),
        ("", "application/octet-stream"), ("image", "application/octet-stream"),
        ("image/png\r\nX: y", "application/octet-stream"), ("/png", "application/octet-stream"),
    ])
    func typesAreRepeatedOnlyIfTheyAreSome(_ said: String, _ type: String) { #expect(MediaType(said).text == type) }
}
