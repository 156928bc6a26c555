import Log
import Logging
import Projections

/// Brings what an adapter understood into the log. Nothing here waits for the disk but where a record must be read again:
/// the caller waits for the last position before it answers.
struct ChannelIntake: Sendable {
    let ledger: Ledger
    let logger: Logger

    /// - Returns: what must be durable before the provider is told that it was taken.
    func take(_ event: ChannelEvent, of client: LogPosition) async throws -> LogPosition {
        let names = try EventNames(event, client, ledger)
        switch event.action {
        case .message(let content): return try await message(content, event, names)
        case .echo(let content, let metadata): return try await echo(content, metadata, event, names)
        case .edit(let target, _, let content):
            if let message = purgedByMode(names.message(target), event, client) {
                return try await self.message(content, event, names, edits: message)
            }
            return try await aboutMessage(names)
        case .unsend, .reaction: return try await aboutMessage(names)
        case .report:
            let acquainted = try await acquaint(names)
            return max(acquainted, try await aboutMessage(names))
        case .moved(let move): return try await moved(move, names)
        case .announcement(let target):
            let key = names.message(target)
            let isKnown = ledger.plan { $0.message(client, key) } != nil
            // Some accounts get the announcement in place of the message: then it is all that there is.
            return isKnown ? .zero : try await unrecognized(names)
        case .unrecognized: return try await unrecognized(names)
        }
    }

    // MARK: Messages

    private func message(
        _ content: MessageContent,
        _ event: ChannelEvent,
        _ names: EventNames,
        edits: LogPosition? = nil
    ) async throws -> LogPosition {
        guard var inbound = try names.inbound(content) else { return try await unrecognized(names) }
        inbound.edits = edits
        inbound.known = try await KnownCustomer.find(for: names, ledger)
        let committed = try ledger.append(flush: .byWaiter) { [ids = ledger.ids, inbound] state, context in
            (state.decide(inbound, ids: ids, context), ())
        }
        var last = await settle(names.client, inbound.duplicateKey, after: committed.position)
        // Whoever waits for a postback took its id for that of a message.
        if let other = names.messageOfPostback { last = await settle(names.client, other, after: last) }
        return last
    }

    /// The message, when it is one whose body was purged because all are, or waits for its one attempt: then its new wording is not to
    /// be had any other way.
    private func purgedByMode(_ key: LookupHash, _ event: ChannelEvent, _ client: LogPosition) -> LogPosition? {
        ledger.plan { state in
            guard let message = state.message(client, key), let row = state.inbox.messages[message],
                row.direction == .inbound,
                state.purges.watches.isInbound(message)
                    || (state.clients[client]?.settings.purgePlatforms.contains(event.platform) == true
                        && state.isPurged(message)),
                !state.inbox.unsent.contains(message),
                state.inbox.current(row.conversation)?.status != .erased
            else { return nil }
            return message
        }
    }

    private func echo(
        _ content: MessageContent,
        _ metadata: String,
        _ event: ChannelEvent,
        _ names: EventNames
    ) async throws -> LogPosition {
        guard let inbound = try names.inbound(content) else { return try await unrecognized(names) }
        if let message = names.sent(ourID: metadata) {
            let id = content.platformMessageID
            return try await raise(message, to: .sent, names, providerID: id, providerKey: inbound.duplicateKey)
        }
        let committed = try ledger.append(flush: .byWaiter) { state, context in
            (state.decideEcho(inbound, context), ())
        }
        return await settle(names.client, inbound.duplicateKey, after: committed.position)
    }

    // MARK: Who a customer is

    /// A report may name two addresses that nobody knew to be one person's.
    private func acquaint(_ names: EventNames) async throws -> LogPosition {
        guard names.event.customer?.otherID.isEmpty == false else { return .zero }
        while true {
            guard var inbound = try names.inbound(MessageContent()),
                let row = ledger.plan({ [inbound] in $0.learns(from: inbound) }),
                // A report must not fail for what nobody can read.
                let known = try? await known(row)
            else { return .zero }
            inbound.identifiers.complete(from: known)
            let committed = try ledger.append(flush: .byWaiter) { [inbound] state, context in
                // What was read is of that conversation alone, which may be erased or another one's part since.
                guard state.learns(from: inbound)?.id == row.id else { return ([], Taken.again) }
                return (state.decideNaming(inbound, context), .something)
            }
            if committed.value != .again { return committed.position }
        }
    }

    /// The customer has other addresses: replies go there from here on.
    private func moved(_ move: ChannelEvent.Move, _ names: EventNames) async throws -> LogPosition {
        while true {
            guard var change = names.change(move) else { return try await unrecognized(names) }
            let row = ledger.plan { [change] in $0.conversation(of: change) }
            if let row {
                let said = change.identifiers.phone
                change.identifiers.complete(from: try await known(row))
                // The number that is known is the one that is given up.
                if change.givenUp != nil { change.identifiers.phone = said }
            }
            let committed = try ledger.append(flush: .byWaiter) { [change] state, context in
                guard state.conversation(of: change)?.id == row?.id else { return ([], Taken.again) }
                return (state.decide(change, context), .something)
            }
            if committed.value != .again { return committed.position }
        }
    }

    /// What is known of the customer, that of the oldest conversation first; nothing once it is erased.
    private func known(_ row: Inbox.ConversationRow) async throws -> ConversationIdentifiers {
        try await ledger.log.waitUntilDurable(row.identifiersAt)
        var known = ConversationIdentifiers()
        for id in [row.id] + row.joined {
            let identifiers = try ledger.unpurged { try ledger.identifiers(id) }
            if let identifiers { known.complete(from: identifiers) }
        }
        return known
    }

    // MARK: What is about messages

    /// What may have to wait for its message, or has waited.
    private func aboutMessage(_ names: EventNames) async throws -> LogPosition {
        switch names.event.action {
        case .edit(let target, let number, let content):
            return try await follow(names.followUp(of: target, .edit(number: number, content)), names)
        case .unsend(let target): return try await follow(names.followUp(of: target, .unsend), names)
        case .reaction(let target, let emoji, let removed):
            return try await follow(names.followUp(of: target, .reaction(emoji: removed ? "" : emoji)), names)
        case .report(let report): return try await ReportIntake(intake: self, names: names).take(report)
        case .message, .echo, .moved, .announcement, .unrecognized: return names.parked
        }
    }

    private enum Taken {
        case something
        case nothing
        /// The circumstances changed meanwhile.
        case again
    }

    private func follow(_ followUp: FollowUp, _ names: EventNames) async throws -> LogPosition {
        var followUp = followUp
        followUp.known = try await KnownCustomer.find(for: names, ledger)
        while true {
            let target = ledger.plan { $0.message(followUp.client, followUp.target) }
            // Its key is read from the log.
            if let target { try await ledger.log.waitUntilDurable(target) }
            let seal = target.flatMap { ledger.readableKeyReference(at: $0) }
            let committed = try ledger.append(flush: .byWaiter) { [ids = ledger.ids, followUp] state, context in
                // The message may have come in between.
                guard state.message(followUp.client, followUp.target) == target else { return ([], Taken.again) }
                let events = state.decide(followUp, about: target, seal: seal, ids: ids, context)
                return (events, events.isEmpty ? .nothing : .something)
            }
            guard committed.value != .again else { continue }
            let isOver = committed.value == .nothing && followUp.parked != .zero
            return isOver ? try await unrecognized(names) : committed.position
        }
    }

    /// - Parameters:
    ///   - providerID: the provider's id of the message; empty where it is told already.
    ///   - providerKey: by which later reports find the message; absent when they do already.
    func raise(
        _ message: LogPosition,
        to status: MessageStatus,
        code: String = "",
        _ names: EventNames,
        providerID: String = "",
        providerKey: LookupHash = .absent
    ) async throws -> LogPosition {
        var report = ProviderStatus(
            client: names.client,
            message: message,
            status: status,
            code: code,
            platformMessageID: providerID
        )
        report.providerKey = providerKey
        report.parked = names.parked
        try await ledger.log.waitUntilDurable(message)
        let body = ledger.readableSentBody(message)
        let committed = try ledger.append(flush: .byWaiter) { [ids = ledger.ids, report] state, context in
            let events = state.decide(report, body, ids: ids, context)
            return (events, !events.isEmpty)
        }
        if !committed.value, names.parked != .zero { return try await unrecognized(names) }
        return providerKey.isAbsent
            ? committed.position : await settle(names.client, providerKey, after: committed.position)
    }

    /// Kept as it came, with the conversation it belongs to where there is one.
    ///
    /// - Parameter message: what it is about, whose key and fate it shares.
    func unrecognized(_ names: EventNames, about message: LogPosition = .zero) async throws -> LogPosition {
        let key = message == .zero ? nil : ledger.readableKeyReference(at: message)
        var found = UnrecognizedEvent(
            client: names.client,
            platform: names.event.platform,
            duplicateKey: names.duplicateKey,
            message: key == nil ? .zero : message,
            key: key,
            customer: names.customer,
            providerBytes: names.event.bytes
        )
        found.parked = names.parked
        return try ledger.append(flush: .byWaiter) { [found] state, _ in (state.decide(found), ()) }.position
    }

    // MARK: What waited

    /// Takes up what came before its message, now that the message is there. What cannot be taken up now is tried again by the
    /// next start: it must not make the message itself fail, which is taken already.
    func settle(_ client: LogPosition, _ key: LookupHash, after position: LogPosition) async -> LogPosition {
        var last = position
        for parked in ledger.plan({ $0.parked.waiting(client, for: key) }) {
            do {
                last = max(last, try await takeUp(parked, client))
            } catch {
                logger.error("what waited for its message could not be taken up", metadata: ["error": "\(error)"])
            }
        }
        return last
    }

    private func takeUp(_ parked: LogPosition, _ client: LogPosition) async throws -> LogPosition {
        try await ledger.log.waitUntilDurable(parked)
        guard let bytes = try ledger.unpurged({ try ledger.body(at: parked, .content) }),
            case .providerEventParked(let record) = try ledger.event(at: parked).event
        else { return parked }
        // One item may have held several events; this one is meant.
        let events = ProviderJSON(bytes).map { MetaWebhook.events($0) } ?? []
        let all = try events.map { try EventNames($0, client, ledger, parked: parked) }
        let meant = all.first { $0.duplicateKey == record.duplicateKey } ?? all.first
        guard let names = meant else { return parked }
        return try await aboutMessage(names)
    }

    /// What a crash or a failure left between a message and what waited for it.
    func settleAll() async {
        let ready = ledger.plan { state in
            state.parked.targets.filter { state.message($0.client, $0.target) != nil }
        }
        for (client, target) in ready { _ = await settle(client, target, after: .zero) }
    }
}
