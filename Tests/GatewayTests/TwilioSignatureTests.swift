import Gateway
import Testing

/// The vectors T1 to T9 of the channel reference, section A.2, and what has to be refused.
@Suite struct TwilioSignatureTests {
    typealias Fields = [(name: String, value: String)]

    static let sdkToken = [UInt8]("12345".utf8)
    static let ownToken = [UInt8]("0123456789abcdef0123456789abcdef".utf8)

    static let t1Path = "myapp.php?foo=1&bar=2"
    static let t1URL = "https://mycompany.com/" + t1Path
    static let t1Signature = "RSOYDt4T1cUTdK1PDd93/VVr8B8="
    static let t1Fields: Fields = [
        ("CallSid", "CA1234567890ABCDE"), ("Caller", "+14158675309"), ("Digits", "1234"), ("From", "+14158675309"),
        ("To", "+18005551212"),
    ]
    static let t2Signature = "kvajT1Ptam85bY51eRf/AJRuM3w="
    static let t3Signature = "0ZXoZLH/DfblKGATFgpif+LLRf4="
    static let t5Signature = "IK+Dwps556ElfBT0I3Rgjkr1wJU="
    static let t5Fields: Fields = [
        ("Sid", "CA123"), ("SidAccount", "AC123"), ("Digits", "5678"), ("Digits", "1234"),
    ]
    static let t6URL = t1URL + "&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"
    static let t6Body = [UInt8](#"{"property": "value", "boolean": true}"#.utf8)
    static let t6Signature = "a9nBmqA0ju/hNViExpshrM61xv4="
    static let t7URL = "https://hooks.example.test/twilio/inbound?tenant=a%20b"
    static let t7Body = [
        "ToCountry=US&ToState=CA&SmsMessageSid=SM0123456789abcdef0123456789abcdef&NumMedia=0&ToCity=&FromZip=",
        "&SmsSid=SM0123456789abcdef0123456789abcdef&FromState=&SmsStatus=received&FromCity=",
        "&Body=Caf%C3%A9+%E2%98%95+%26+100%25%0Aline+2&FromCountry=US&To=%2B15005550006&ToZip=&NumSegments=1",
        "&MessageSid=SM0123456789abcdef0123456789abcdef&AccountSid=AC0123456789abcdef0123456789abcdef",
        "&From=%2B14155552671&ApiVersion=2010-04-01",
    ].joined()
    static let t7Signature = "vDXT/3X5VO52RPWlb3QonKiqBa0="
    static let t9URL = "https://hooks.example.test/t"
    static let t9Fields: Fields = [
        ("From", "whatsapp:+14155552671"), ("FromCity", "OAKLAND"), ("To", "whatsapp:+15005550006"),
        ("ToCity", "RENO"), ("Body", "hi"),
    ]

    struct Vector: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let token: [UInt8]
        let url: String
        let fields: Fields
        let signature: String

        init(_ name: String, _ token: [UInt8], _ url: String, _ fields: Fields, _ signature: String) {
            testDescription = name
            self.token = token
            self.url = url
            self.fields = fields
            self.signature = signature
        }
    }

    static let vectors = [
        Vector("T1", sdkToken, t1URL, t1Fields, t1Signature),
        Vector("T2", sdkToken, "https://mycompany.com:443/" + t1Path, t1Fields, t2Signature),
        Vector("T3", sdkToken, "http://mycompany.com:80/" + t1Path, t1Fields, t3Signature),
        Vector("T4", sdkToken, "http://mycompany.com:1234/" + t1Path, t1Fields, "Zmvh+3yNM1Phv2jhDCwEM3q5ebU="),
        Vector("T5", sdkToken, t1URL, t5Fields, t5Signature),
        Vector("T6", sdkToken, t6URL, [], t6Signature),
        Vector("T9", ownToken, t9URL, t9Fields, "kSyqQTNyn4zfZO8qcJF1yuvyBLk="),
    ]

    @Test(arguments: vectors)
    func signsAndVerifies(_ vector: Vector) {
        let expected = TwilioSignature.expected(token: vector.token, url: vector.url, fields: vector.fields)
        #expect(expected == vector.signature)
        #expect(verify(vector.signature, vector.token, vector.url, .form(vector.fields)))
        #expect(verify(vector.signature, vector.token, vector.url, .form(vector.fields.reversed())))
        #expect(!verify(vector.signature, [UInt8]("12346".utf8), vector.url, .form(vector.fields)))
        #expect(!verify(vector.signature, vector.token, vector.url + "x", .form(vector.fields)))
        #expect(!verify(vector.signature, vector.token, vector.url, .form(vector.fields + [("x", "")])))
    }

    private func verify(_ header: String?, _ token: [UInt8], _ url: String, _ body: TwilioSignature.Body) -> Bool {
        TwilioSignature.verify(header: header, tokens: [token], url: url, body: body)
    }
}

// MARK: - Fields

extension TwilioSignatureTests {
    @Test func blankParametersAreSigned() throws {
        let bytes = [UInt8](Self.t7Body.utf8)
        #expect(bytes.count == 415)
        let fields = try #require(FormBody(bytes)).fields
        let filled = fields.filter { !$0.value.isEmpty }
        let expected = TwilioSignature.expected(token: Self.ownToken, url: Self.t7URL, fields: fields)
        let dropped = TwilioSignature.expected(token: Self.ownToken, url: Self.t7URL, fields: filled)
        #expect(expected == Self.t7Signature)
        #expect(dropped == "IFNVzOuSBq8cz/BLNop3ngPjdYk=")
        #expect(verify(Self.t7Signature, Self.ownToken, Self.t7URL, .form(fields)))
        #expect(!verify(Self.t7Signature, Self.ownToken, Self.t7URL, .form(filled)))
        #expect(!verify(dropped, Self.ownToken, Self.t7URL, .form(fields)))
    }

    @Test func sortingTheJoinedTextIsRefused() {
        let wrong = "aNlR8uG2NFiR9w7K0sLK2V5RUvU="
        #expect(!verify(wrong, Self.ownToken, Self.t9URL, .form(Self.t9Fields)))
    }

    @Test func aRepeatedValueIsSignedOnce() {
        let fields = Self.t5Fields + [("Digits", "1234"), ("Sid", "CA123")]
        #expect(verify(Self.t5Signature, Self.sdkToken, Self.t1URL, .form(fields)))
    }

    @Test func namesAndValuesAreComparedByBytes() {
        // U+FF5E sorts before U+1F600 as bytes but after it as UTF-16, and é has two equivalent spellings that are
        // different values.
        let fields: Fields = [
            ("b", "\u{1F600}"), ("b", "\u{FF5E}"), ("a", "\u{E9}"), ("a", "e\u{301}"), ("B", "z"),
        ]
        let joined = "https://example.test/Bzae\u{301}a\u{E9}b\u{FF5E}b\u{1F600}"
        let expected = TwilioSignature.expected(token: Self.sdkToken, url: joined, fields: [])
        #expect(verify(expected, Self.sdkToken, "https://example.test/", .form(fields)))
    }
}

// MARK: - Ports

extension TwilioSignatureTests {
    static let portVariants: [(requested: String, signed: String)] = [
        ("https://h.test/p?q=1", "https://h.test:443/p?q=1"),
        ("http://h.test/p?q=1", "http://h.test:80/p?q=1"),
        ("HTTPS://h.test/p", "HTTPS://h.test:443/p"),
        ("https://h.test:1234/p", "https://h.test/p"),
        ("http://h.test:1234/p", "http://h.test/p"),
        ("https://h.test", "https://h.test:443"),
        ("https://h.test?q=a:1", "https://h.test:443?q=a:1"),
        ("https://h.test:8443?q=a:1", "https://h.test?q=a:1"),
        ("https://h.test/a:1/b@c:2?u=http://x:3/", "https://h.test:443/a:1/b@c:2?u=http://x:3/"),
        ("https://user:1234@h.test/p", "https://user:1234@h.test:443/p"),
        ("https://user:1234@h.test:99/p", "https://user:1234@h.test/p"),
        ("https://us@er:pa@h.test:99/p", "https://us@er:pa@h.test/p"),
        ("https://[2001:db8::1]/p", "https://[2001:db8::1]:443/p"),
        ("https://[2001:db8::1]:99/p", "https://[2001:db8::1]/p"),
        ("https://h.test/%7e/it's+%20?a=%C3%a9&b", "https://h.test:443/%7e/it's+%20?a=%C3%a9&b"),
    ]

    @Test(arguments: portVariants)
    func oneSignatureCoversBothSpellings(_ requested: String, _ signed: String) {
        for url in [requested, signed] {
            let signature = TwilioSignature.expected(token: Self.sdkToken, url: url, fields: Self.t1Fields)
            #expect(verify(signature, Self.sdkToken, requested, .form(Self.t1Fields)))
        }
    }

    @Test func thePublishedSignaturesAllowForPorts() {
        let body = TwilioSignature.Body.form(Self.t1Fields)
        #expect(verify(Self.t2Signature, Self.sdkToken, Self.t1URL, body))
        #expect(verify(Self.t3Signature, Self.sdkToken, "http://mycompany.com/" + Self.t1Path, body))
        let withPort = "https://mycompany.com:1234/" + Self.t1Path
        #expect(verify(Self.t1Signature, Self.sdkToken, withPort, body))
    }

    @Test(arguments: [
        ("https://h.test/p", "https://h.test:80/p"),
        ("https://h.test/p", "https://h.test:444/p"),
        ("https://h.test/p", "http://h.test/p"),
        ("https://h.test:1/p", "https://h.test:443/p"),
        ("https://u:1@h.test/p", "https://h.test/p"),
        ("https://u:1@h.test/p", "https://u@h.test/p"),
        ("https://[2001:db8::1]/p", "https://[2001:db8:/p"),
        ("https://h.test/p", "https://h.test/p:443"),
        ("ftp://h.test/p", "ftp://h.test:80/p"),
        ("h.test:1/p", "h.test/p"),
    ])
    func noOtherPartOfTheURLMayDiffer(_ requested: String, _ signed: String) {
        let signature = TwilioSignature.expected(token: Self.sdkToken, url: signed, fields: [])
        #expect(!verify(signature, Self.sdkToken, requested, .query))
        #expect(verify(signature, Self.sdkToken, signed, .query))
    }
}

// MARK: - Bodies that are not forms

extension TwilioSignatureTests {
    @Test func aRawBodyMustMatchTheSignedDigest() {
        #expect(verify(Self.t6Signature, Self.sdkToken, Self.t6URL, .raw(Self.t6Body)))
        #expect(!verify(Self.t6Signature, Self.sdkToken, Self.t6URL, .raw(Self.t6Body + [0x0A])))
        #expect(!verify(Self.t6Signature, Self.sdkToken, Self.t6URL, .raw([])))
        #expect(!verify(Self.t1Signature, Self.sdkToken, Self.t6URL, .raw(Self.t6Body)))
    }

    static let t6Digest = "0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"

    @Test(arguments: [
        ("?bodySHA256=\(t6Digest)", true),
        ("?bodySHA256=\(t6Digest)&x=1", true),
        ("?x=?&bodySHA256=\(t6Digest)&bodySHA256=0", true),
        ("?bodySHA256=0&bodySHA256=\(t6Digest)", false),
        ("", false),
        ("?", false),
        ("?bodySHA256", false),
        ("?bodySHA256=", false),
        ("?bodysha256=\(t6Digest)", false),
        ("?xbodySHA256=\(t6Digest)", false),
        ("?bodySHA256=\(t6Digest.uppercased())", false),
        ("?bodySHA256=\(t6Digest)0", false),
        ("&bodySHA256=\(t6Digest)", false),
    ])
    func theDigestIsReadFromTheQuery(_ query: String, _ accepted: Bool) {
        let url = "https://h.test/p" + query
        let signature = TwilioSignature.expected(token: Self.sdkToken, url: url, fields: [])
        #expect(verify(signature, Self.sdkToken, url, .raw(Self.t6Body)) == accepted)
    }

    @Test func aGetSignsTheURLAlone() {
        let signature = TwilioSignature.expected(token: Self.sdkToken, url: Self.t1URL, fields: [])
        #expect(verify(signature, Self.sdkToken, Self.t1URL, .query))
        #expect(!verify(Self.t1Signature, Self.sdkToken, Self.t1URL, .query))
        #expect(!verify(signature, Self.sdkToken, Self.t1URL, .raw([])))
    }
}

// MARK: - Headers and tokens

extension TwilioSignatureTests {
    @Test(arguments: [
        nil, "", " ", "RSOYDt4T1cUTdK1PDd93/VVr8B8", "rsoydt4t1cutdk1pdd93/vvr8b8=", " RSOYDt4T1cUTdK1PDd93/VVr8B8=",
        "RSOYDt4T1cUTdK1PDd93/VVr8B8==", "RSOYDt4T1cUTdK1PDd93/VVr8B9=", "RSOYDt4T1cUTdK1PDd93_VVr8B8=", "☕",
    ])
    func aMissingOrMangledHeaderIsRefused(_ header: String?) {
        #expect(!verify(header, Self.sdkToken, Self.t1URL, .form(Self.t1Fields)))
    }

    @Test(arguments: [
        ([], false), ([ownToken], false), ([sdkToken], true), ([sdkToken, ownToken], true),
        ([ownToken, sdkToken], true), ([[], sdkToken], true),
    ])
    func anyTokenMayMatch(_ tokens: [[UInt8]], _ accepted: Bool) {
        let body = TwilioSignature.Body.form(Self.t1Fields)
        let verified = TwilioSignature.verify(header: Self.t1Signature, tokens: tokens, url: Self.t1URL, body: body)
        #expect(verified == accepted)
    }

    @Test func anEmptyTokenMatchesNothing() {
        let forged = TwilioSignature.expected(token: [], url: Self.t1URL, fields: [])
        #expect(!verify(forged, [], Self.t1URL, .query))
    }

    @Test(arguments: ["", ":", "://", "https://", "https://:", "https://@:", "https://[", "https://h:", "https:/h"])
    func strangeURLsAreOnlyText(_ url: String) {
        let signature = TwilioSignature.expected(token: Self.sdkToken, url: url, fields: [])
        #expect(verify(signature, Self.sdkToken, url, .query))
    }
}
