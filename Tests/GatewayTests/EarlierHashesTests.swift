import Gateway
import Log
import Projections
import Testing

/// Histories in which earlier versions kept customers by other hashes: they stay found, but never as somebody else.
@Suite struct EarlierHashesTests {
    private static let landline = "+551133221705"
    private static let mobile = "+5511933221705"

    /// A client, and what an earlier version wrote down for it.
    private struct History {
        let probe: GatewayProbe
        let account: GatewayProbe.Account
        let client: LogPosition

        init(_ probe: GatewayProbe) async throws {
            self.probe = probe
            account = try await probe.smsAccount()
            client = try #require(probe.ledger.ids.decode(.client, account.id))
            let connected = try await probe.ask(
                .put,
                "/admin/v1/clients/\(account.id)/channels/whatsapp",
                token: probe.operatorToken,
                body: #"{"waba_id":"2002","phone_number_id":"1001","access_token":"EAAtoken"}"#
            )
            #expect(connected.status == 200)
        }

        /// As `docs/events.md` says it.
        func hash(_ domain: String, _ form: String) throws -> LookupHash {
            let content = try JSONFields(try #require(try probe.ledger.body(at: client, .content)))
            let key = try #require(Base64.decode(try content.require("lookup_key")))
            let message = [UInt8](domain.utf8) + [0] + [UInt8](form.utf8)
            return try #require(LookupHash(Crypto.hmacSHA256(key: key, message: message)))
        }

        /// The id of the conversation.
        func open(_ platform: Platform, _ domain: String, form: String, phone: String) async throws -> String {
            var opened = ConversationOpened()
            opened.platform = platform
            opened.customer = try hash(domain, form)
            var identifiers = ConversationIdentifiers()
            identifiers.phone = phone
            let committed = try await probe.ledger.commit { [client, opened, identifiers] _, _ in
                let event = NewEvent(
                    .conversationOpened(opened),
                    client: client,
                    bodies: [SealedPart(.identifiers, identifiers.json)],
                    seal: .newKey(.conversation)
                )
                return ([event], ())
            }
            return probe.ledger.ids.encode(.conversation, committed.position)
        }

        func optOut(_ platform: Platform, _ domain: String, form: String) async throws {
            var event = CustomerOptedOut()
            event.platform = platform
            event.customer = try hash(domain, form)
            _ = try await probe.ledger.commit { [client, event] _, _ in
                ([NewEvent(.customerOptedOut(event), client: client)], ())
            }
        }

        func template(to phone: String) async throws -> Reply {
            let content = #""platform":"whatsapp","template_name":"t","template_language":"en""#
            return try await probe.send(account, #"{"to_phone":"\#(phone)",\#(content)}"#)
        }

        func conversations(_ query: String) async throws -> [String] {
            let encoded = query.replacing("+", with: "%2B")
            let reply = try await probe.ask(.get, "/v1/conversations?\(encoded)", token: account.key)
            return try reply.data().compactMap { $0["id"] as? String }
        }
    }

    private func with(_ body: @Sendable (History) async throws -> Void) async throws {
        try await GatewayProbe.with { probe in try await body(try await History(probe)) }
    }

    /// One hash stood for both: the conversation is whose number is sealed with it.
    @Test(arguments: [(landline, mobile), (mobile, landline)])
    func aSharedHashFindsTheOneWhoseNumberIsSealed(_ owner: String, _ other: String) async throws {
        try await with { history in
            let old = try await history.open(
                .whatsapp,
                "customer/whatsapp",
                form: "551133221705",
                phone: owner
            )
            #expect(try await history.conversations("phone=\(owner)") == [old])
            #expect(try await history.conversations("phone=\(other)") == [])
            let theirs = try await history.template(to: other)
            #expect(theirs.status == 202)
            #expect(try theirs.text("conversation_id") != old)
            // Not taken over by the other either.
            let reply = try await history.template(to: owner)
            #expect(try reply.text("conversation_id") == old)
            let again = try await history.template(to: other)
            #expect(try again.text("conversation_id") == theirs.text("conversation_id"))
        }
    }

    @Test func whatChangedNothingIsFoundAsBefore() async throws {
        try await with { history in
            let old = try await history.open(
                .whatsapp,
                "customer/whatsapp",
                form: "551187654321",
                phone: "+551187654321"
            )
            let reply = try await history.template(to: "+5511987654321")
            #expect(try reply.text("conversation_id") == old)
        }
    }

    /// Of an opt-out nobody can tell any more whose it was.
    @Test(arguments: [landline, mobile])
    func anEarlierOptOutCountsForEither(_ phone: String) async throws {
        try await with { history in
            try await history.optOut(.whatsapp, "customer/whatsapp", form: "551133221705")
            let reply = try await history.template(to: phone)
            #expect(reply.status == 410)
            #expect(reply.code == "recipient_opted_out")
        }
    }

    @Test func theConversationOfAnotherChannelOverTwilioGoesOn() async throws {
        try await with { history in
            let old = try await history.open(
                .sms,
                "customer/sms",
                form: "rcs:+14155552671",
                phone: "rcs:+14155552671"
            )
            let inbound = try await history.probe.twilio(history.account, GatewayProbe.message("SM1"))
            #expect(inbound.status == 200)
            let all = try await history.conversations("platform=sms")
            #expect(all == [old])
            let reply = try await history.probe.send(history.account, #"{"to_phone":"+14155552671","text":"hi"}"#)
            #expect(try reply.text("conversation_id") == old)
            let shown = try await history.probe.ask(.get, "/v1/conversations/\(old)", token: history.account.key)
            #expect(try shown.fields().object("customer")?.string("phone") == "+14155552671")
            #expect(try await history.conversations("phone=+14155552671") == [old])
        }
    }

    @Test func anOptOutOverAnotherChannelCountsUntilAStart() async throws {
        try await with { history in
            let (probe, account) = (history.probe, history.account)
            _ = try await probe.twilio(account, GatewayProbe.message("SM1"))
            let conversation = try #require(try await history.conversations("platform=sms").first)
            try await history.optOut(.sms, "customer/sms", form: "rcs:+14155552671")
            for recipient in [#""to_phone":"+14155552671""#, #""conversation_id":"\#(conversation)""#] {
                let refused = try await probe.send(account, #"{\#(recipient),"text":"hi"}"#)
                #expect(refused.code == "recipient_opted_out")
            }
            _ = try await probe.twilio(account, GatewayProbe.message("SM2", text: "START"))
            let sent = try await probe.send(account, #"{"to_phone":"+14155552671","text":"hi"}"#)
            #expect(sent.status == 202)
        }
    }
}
