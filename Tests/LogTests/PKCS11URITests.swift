import Log
import Testing

@Suite struct PKCS11URITests {
    private static let query = "?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/waybill/pin"
    private static let least = "pkcs11:token=waybill;object=root" + query

    /// With a query that is right, unless it has one.
    private func completed(_ text: String) -> String { text.contains("?") ? text : text + Self.query }

    /// The message of the error, or nil when the URI is taken.
    private func refusal(_ text: String) -> String? {
        do throws(LogError) {
            _ = try PKCS11URI(text)
            return nil
        } catch {
            #expect(error.code == .keyUnavailable)
            return error.message
        }
    }

    @Test func theLeastThatIsNeeded() throws {
        let uri = try PKCS11URI(Self.least)
        #expect(uri.token == "waybill")
        #expect(uri.object == "root")
        #expect(uri.modulePath == "/usr/lib/softhsm/libsofthsm2.so")
        #expect(uri.pin == .file("/etc/waybill/pin"))
        #expect(uri.serial == nil && uri.slot == nil && uri.manufacturer == nil && uri.model == nil)
    }

    /// As tools print it, p11tool for one.
    @Test func everythingThatChoosesAToken() throws {
        let uri = try PKCS11URI(
            "pkcs11:model=SoftHSM%20v2;manufacturer=SoftHSM%20project;serial=2c9a62d2;slot-id=1503500898;"
                + "type=secret-key;token=a%3bb%3D%25;object=root%3F?module-path=/m.so&pin-value=1234"
        )
        #expect(uri.model == "SoftHSM v2")
        #expect(uri.manufacturer == "SoftHSM project")
        #expect(uri.serial == "2c9a62d2")
        #expect(uri.slot == 1_503_500_898)
        #expect(uri.token == "a;b=%")
        #expect(uri.object == "root?")
        #expect(uri.pin == .value("1234"))
        let name = "token=a;b=%;serial=2c9a62d2;slot-id=1503500898;manufacturer=SoftHSM project;model=SoftHSM v2"
        #expect(uri.tokenName == name)
    }

    @Test func aValueMayHoldEqualsSignsAndOtherLetters() throws {
        let uri = try PKCS11URI("pkcs11:serial=a=b;object=Schl%C3%BCssel?module-path=/m.so&pin-value=a=b?c:d;e")
        #expect(uri.serial == "a=b")
        #expect(uri.object == "Schlüssel")
        #expect(uri.pin == .value("a=b?c:d;e"))
    }

    @Test(arguments: [
        "/etc/waybill/pin", "file:/etc/waybill/pin", "file:///etc/waybill/pin", "file://localhost/etc/waybill/pin",
        "file:%2Fetc%2Fwaybill%2Fpin",
    ])
    func theWaysToNameThePINFile(_ source: String) throws {
        let uri = try PKCS11URI("pkcs11:slot-id=0;object=root?module-path=/m.so&pin-source=" + source)
        #expect(uri.pin == .file("/etc/waybill/pin"))
        #expect(uri.slot == 0)
    }

    @Test(arguments: ["|/bin/echo%201234", "https://example.com/pin", "file://elsewhere/pin", "file:pin", "pin", ""])
    func aPINFromAnywhereElseIsRefused(_ source: String) throws {
        let text = "pkcs11:token=waybill;object=root?module-path=/m.so&pin-source=" + source
        #expect(try #require(refusal(text)).contains("pin-source"))
    }

    @Test func attributesOfVendorsAreIgnored() throws {
        let text = "pkcs11:token=waybill;acme-room=7;object=root" + Self.query + "&acme-x=1&acme-x=2"
        #expect(try PKCS11URI(text) == PKCS11URI(Self.least))
    }

    @Test(arguments: [
        ("pkcs11:token=a;token=b;object=root", "token"), ("pkcs11:token=a;object=root;object=root", "object"),
        ("pkcs11:token=a;object=root;acme=1;acme=1", "acme"),
        ("pkcs11:token=a;object=root?module-path=/m.so&module-path=/m.so&pin-value=1", "module-path"),
        ("pkcs11:token=a;object=root?module-path=/m.so&pin-value=1&pin-value=2", "pin-value"),
    ])
    func whatIsGivenTwiceIsRefused(_ text: String, _ name: String) throws {
        #expect(try #require(refusal(completed(text))).hasSuffix("\(name) is given twice"))
    }

    @Test(arguments: [
        ("pkcs11:object=root", "token"), ("pkcs11:model=x;object=root", "token"), ("pkcs11:", "token"),
        ("pkcs11:token=a", "object"), ("pkcs11:token=a;object=", "object"),
        ("pkcs11:token=a;object=root?", "module-path"), ("pkcs11:token=a;object=root?module-path=", "module-path"),
        ("pkcs11:token=a;object=root?module-name=softhsm&pin-value=1", "module-path"),
        ("pkcs11:token=a;object=root?module-path=/m.so", "pin-source"),
        ("pkcs11:token=a;object=root?module-path=/m.so&pin-source=/pin&pin-value=1", "pin-source"),
    ])
    func whatIsMissingOrContradictsIsNamed(_ text: String, _ name: String) throws {
        #expect(try #require(refusal(completed(text))).contains(name))
    }

    @Test func aQueryIsNeeded() throws {
        #expect(try #require(refusal("pkcs11:token=a;object=root")).contains("module-path"))
    }

    @Test(arguments: [
        ("pkcs11:token=a;object=root;id=%01", "by id"), ("pkcs11:token=a;object=root;type=cert", "type"),
        ("pkcs11:token=a;slot-description=x;object=root", "slot-description"),
        ("pkcs11:token=a;library-version=3;object=root", "library-version"),
        ("pkcs11:token=a;object=root;pin-value=1234", "pin-value"),
        ("pkcs11:token=a?module-path=/m.so&pin-value=1&object=root", "object"),
        ("pkcs11:slot-id=-1;object=root", "slot-id"), ("pkcs11:slot-id=+1;object=root", "slot-id"),
        ("pkcs11:slot-id=;object=root", "slot-id"), ("pkcs11:slot-id=0x1;object=root", "slot-id"),
        ("pkcs11:slot-id=18446744073709551616;object=root", "slot-id"),
        ("pkcs11:token=%;object=root", "token"), ("pkcs11:token=%0;object=root", "token"),
        ("pkcs11:token=%+1;object=root", "token"), ("pkcs11:token=%ff;object=root", "token"),
        ("pkcs11:token=a%00b;object=root", "token"),
    ])
    func whatCannotBeMatchedIsNamed(_ text: String, _ name: String) throws {
        #expect(try #require(refusal(completed(text))).contains(name))
    }

    @Test(arguments: [
        "", "/etc/waybill/root.key", "pkcs12:token=a;object=root", "pkcs11", "pkcs11:token=a;;object=root",
        "pkcs11:token=a;object=root;", "pkcs11:token=a;=b;object=root", "pkcs11:token;object=root",
        "pkcs11:tok%65n=a;object=root", "pkcs11:token=a;object=root?module-path=/m.so&&pin-value=1",
        "pkcs11:token=a;object=root?module-path=/m.so&pin-value=1&",
    ])
    func anotherFormIsRefused(_ text: String) {
        #expect(throws: LogError(.keyUnavailable, "")) { try PKCS11URI(completed(text)) }
    }

    /// Whatever is wrong, the PIN stays out of what is logged.
    @Test(arguments: [
        "pin-value=5417", "pin-value=5417&pin-value=5417", "pin-value=5417%", "pin-value=5417&pin-source=/pin", "5417",
        "pin-source=5417",
    ])
    func noErrorTellsThePIN(_ query: String) throws {
        for path in ["pkcs11:token=a;object=root", "pkcs11:token=a", "pkcs11:token=a;object=root;x"] {
            for module in ["", "&module-path=/m.so"] {
                if let message = refusal(path + "?" + query + module) { #expect(!message.contains("5417")) }
            }
        }
    }

    @Test(arguments: [
        ("pkcs11:token=a?pin-value=1234", "pkcs11:token=a?pin-value=***"),
        ("pkcs11:token=a?pin-value=1?2;3:4&module-path=/m.so", "pkcs11:token=a?pin-value=***&module-path=/m.so"),
        ("pkcs11:token=a;pin-value=1234;object=b", "pkcs11:token=a;pin-value=***;object=b"),
        ("pkcs11:pin-value=1&2?x&pin-value=3", "pkcs11:pin-value=***?x&pin-value=***"),
        ("PKCS11:token=a?PIN-Value=1234", "pkcs11:token=a?PIN-Value=***"),
        ("pkcs11:token=a?pin%2Dvalue=1234", "pkcs11:token=a?pin%2Dvalue=***"),
        ("pkcs11:token=a?pin-value%3D1234", "pkcs11:token=a?pin-value=***"),
        ("pkcs11:token=a?module-path=/m.so;pin-value=1234", "pkcs11:token=a?module-path=/m.so;pin-value=***"),
        ("pkcs11:token=a&pin-value=1234;object=b", "pkcs11:token=a&pin-value=***;object=b"),
        ("pkcs11:token=a?pin-value=12&34&module-path=/m.so", "pkcs11:token=a?pin-value=***&module-path=/m.so"),
        (" pkcs11:token=a?pin-value=1234", " pkcs11:token=a?pin-value=***"),
        ("pkcs11%3Atoken=a?pin-value=1234", "pkcs11%3Atoken=a?pin-value=***"),
        ("pkcs11:token=a? pin-value =1234", "pkcs11:token=a? pin-value=***"),
        ("/etc/waybill/root.key?pin-value=1", "/etc/waybill/root.key?pin-value=1"), ("", ""),
    ])
    func thePINIsMaskedForPeople(_ text: String, _ masked: String) {
        #expect(PKCS11URI.masked(text) == masked)
        #expect(PKCS11URI.masked(Self.least) == Self.least)
    }

    @Test func aPathIsToldFromAURI() {
        #expect(PKCS11URI.isOne(Self.least))
        #expect(PKCS11URI.isOne("PKCS11:token=a"))
        #expect(PKCS11URI.isOne(" pkcs11:token=a"))
        #expect(!PKCS11URI.isOne("/var/lib/pkcs11:token"))
        #expect(!PKCS11URI.isOne("pkcs11.key"))
    }
}

/// What does not need a token; the rest is in `Tests/Interop/test_pkcs11.py`.
@Suite struct PKCS11RootKeysTests {
    @Test(arguments: ["/nowhere/libpkcs11.so", "/dev/null"])
    func aModuleThatCannotBeLoadedIsNamed(_ path: String) throws {
        let keys = PKCS11RootKeys(try PKCS11URI("pkcs11:token=a;object=root?module-path=\(path)&pin-value=5417"))
        do throws(LogError) {
            _ = try keys.generations()
            Issue.record("there is no such module")
        } catch {
            #expect(error.code == .keyUnavailable)
            #expect(error.message.contains(path))
            #expect(error.message.contains("token=a"))
            #expect(!error.message.contains("5417"))
        }
    }
}
