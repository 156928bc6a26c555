import Gateway
import Projections
import Testing

/// Which forms of a number are one person's, by the numbering plans of Brazil, Mexico and Argentina.
@Suite struct NumberingPlanTests {
    struct Pair: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let one: String
        let other: String

        init(_ name: String, _ one: String, _ other: String) {
            testDescription = "\(name): \(one) and \(other)"
            self.one = one
            self.other = other
        }

        var forms: (String, String) {
            (CustomerAddress.form(.whatsapp, one), CustomerAddress.form(.whatsapp, other))
        }
    }

    static let same: [Pair] = [
        Pair("Brazil, subscriber 6", "551161234567", "5511961234567"),
        Pair("Brazil, subscriber 7", "552171234567", "5521971234567"),
        Pair("Brazil, subscriber 8", "551187654321", "5511987654321"),
        Pair("Brazil, subscriber 9", "558591234567", "5585991234567"),
        Pair("Brazil, dialled", "551187654321", "+5511987654321"),
        Pair("Brazil, landline", "551133221705", "+551133221705"),
        Pair("Mexico, Mexico City", "525512345678", "5215512345678"),
        Pair("Mexico, Monterrey", "528112345678", "+5218112345678"),
        Pair("Mexico, area of three digits", "529991234567", "5219991234567"),
        Pair("Argentina, Buenos Aires", "541112345678", "5491112345678"),
        Pair("Argentina, dialled as at home", "54111512345678", "5491112345678"),
        Pair("Argentina, area of three digits", "542211234567", "5492211234567"),
        Pair("Argentina, area of three digits, as at home", "54221151234567", "5492211234567"),
        Pair("Argentina, area of four digits", "542966123456", "5492966123456"),
        Pair("Argentina, area of four digits, as at home", "54296615123456", "5492966123456"),
        Pair("Argentina, 15 in the number too", "54111515151515", "5491115151515"),
        Pair("Argentina, Cordoba", "54351151234567", "+5493511234567"),
        Pair("elsewhere", "16505551234", "+16505551234"),
    ]

    @Test(arguments: same)
    func oneNumberIsOnePerson(_ pair: Pair) {
        #expect(pair.forms.0 == pair.forms.1)
    }

    static let different: [Pair] = [
        Pair("Brazil, landline and mobile", "551133221705", "5511933221705"),
        Pair("Brazil, subscriber 2", "551121234567", "5511921234567"),
        Pair("Brazil, subscriber 4", "552141234567", "5521941234567"),
        Pair("Brazil, subscriber 5", "555551234567", "5555951234567"),
        Pair("Brazil, two areas", "551187654321", "5521987654321"),
        Pair("Brazil, two landlines", "551133221705", "551133221706"),
        Pair("Brazil, no ninth digit", "551187654321", "5511887654321"),
        Pair("Mexico, no number begins with 1", "521112345678", "5211112345678"),
        Pair("Mexico, two numbers", "525512345678", "5215512345679"),
        Pair("Argentina, no area begins with 4", "544112345678", "5494112345678"),
        Pair("Argentina, two numbers", "541112345678", "5491112345679"),
        Pair("Argentina, no 15 there", "54111612345678", "5491112345678"),
        Pair("elsewhere, with a 9", "4911123456789", "491123456789"),
        Pair("elsewhere, with a 1", "5111234567890", "511234567890"),
    ]

    @Test(arguments: different)
    func twoNumbersAreTwoPeople(_ pair: Pair) {
        #expect(pair.forms.0 != pair.forms.1)
    }

    @Test(arguments: [
        "", "+", "5", "55", "52", "54", "5511", "555555555555555", "BR.13491208655302741918", "ana.b.1234",
    ])
    func whatIsNoNumberStaysAsItIs(_ text: String) {
        let digits = text.hasPrefix("+") ? String(text.dropFirst()) : text
        #expect(CustomerAddress.form(.whatsapp, text) == digits)
        #expect(CustomerAddress.earlierForms(.whatsapp, text) == [])
    }

    // MARK: What earlier versions made of it

    struct Earlier: Sendable, CustomTestStringConvertible {
        let number: String
        let forms: [String]

        init(_ number: String, _ forms: [String]) {
            self.number = number
            self.forms = forms
        }

        var testDescription: String { number }
    }

    static let earlier: [Earlier] = [
        // Of these two people one hash was made.
        Earlier("5511933221705", ["551133221705"]), Earlier("551133221705", ["551133221705"]),
        // Nothing changed for these.
        Earlier("5511987654321", []), Earlier("551187654321", []), Earlier("5215512345678", []),
        Earlier("525512345678", []), Earlier("5491112345678", []), Earlier("541112345678", []),
        Earlier("16505551234", []), Earlier("+16505551234", []),
        Earlier("54111512345678", ["54111512345678"]),
        Earlier("5211112345678", ["521112345678"]), Earlier("5494112345678", ["544112345678"]),
    ]

    @Test(arguments: earlier)
    func earlierForms(_ row: Earlier) {
        #expect(CustomerAddress.earlierForms(.whatsapp, row.number) == row.forms)
    }

    /// The hash of today is never one that an earlier version may have made of somebody else.
    @Test(arguments: different)
    func noFormOfTodayIsAnotherPersonsEarlierOne(_ pair: Pair) {
        #expect(!CustomerAddress.earlierForms(.whatsapp, pair.one).contains(pair.forms.1))
        if pair.testDescription.hasPrefix("Brazil") {
            #expect(!CustomerAddress.earlierForms(.whatsapp, pair.other).contains(pair.forms.0))
        }
    }

    // MARK: Other platforms

    @Test func theSchemeIsNoPartOfANumber() {
        for text in [
            "+14155552671", "rcs:+14155552671", "RCS:+14155552671", "whatsapp:+14155552671", "sms:+14155552671",
        ] {
            #expect(CustomerAddress.form(.sms, text) == "+14155552671")
        }
        let earlier = CustomerAddress.earlierForms(.sms, "+14155552671")
        #expect(earlier == ["rcs:+14155552671", "whatsapp:+14155552671"])
        for text in ["22395", "MYPARCEL", "messenger:1000234567", "whatsapp:US.1349"] {
            #expect(CustomerAddress.form(.sms, text) == text)
            #expect(CustomerAddress.earlierForms(.sms, text) == [])
        }
    }

    @Test(arguments: [Platform.facebook, .instagram])
    func idsAreNoNumbers(_ platform: Platform) {
        #expect(CustomerAddress.form(platform, "5511987654321") == "5511987654321")
        #expect(CustomerAddress.earlierForms(platform, "5511933221705") == [])
    }
}
