package import Log

/// What was said: conversations, and a few dozen bytes for each message. Bodies stay in the log.
package struct Inbox: Sendable, Equatable {
    package struct MessageRow: Sendable, Equatable {
        package let client: LogPosition
        package fileprivate(set) var conversation: LogPosition
        /// The last record that said something about the status; each names the one before.
        package var trail: LogPosition
        package let platform: Platform
        package let direction: Direction
        package var status: MessageStatus
    }

    /// The newest edit of a message.
    package struct Edit: Sendable, Equatable {
        package let position: LogPosition
        package let number: UInt64
    }

    private struct CustomerKey: Hashable, Sendable {
        let client: LogPosition
        let platform: Platform
        let customer: LookupHash
    }

    package private(set) var conversations: [LogPosition: ConversationRow] = [:]
    package private(set) var messages: [LogPosition: MessageRow] = [:]
    package private(set) var conversationsByClient: [LogPosition: [LogPosition]] = [:]
    package private(set) var edits: [LogPosition: Edit] = [:]
    /// Messages that the customer took back.
    package private(set) var unsent: Set<LogPosition> = []
    /// What came from a customer before there was a conversation that it could belong to.
    private var unplaced: [CustomerKey: [LogPosition]] = [:]
    private var byCustomer: [CustomerKey: LogPosition] = [:]
    /// Conversations that turned out to be an older one, and which. Their own rows stay as they were, for what an erasure destroys.
    private var joined: [LogPosition: LogPosition] = [:]

    package init() {}

    /// The conversation that an id stands for: another one, once it was joined into that.
    package func survivor(of conversation: LogPosition) -> LogPosition { joined[conversation] ?? conversation }

    /// The conversation that an id stands for, as it is now.
    package func current(_ conversation: LogPosition) -> ConversationRow? { conversations[survivor(of: conversation)] }

    /// Whether an id only stands for an older conversation.
    package func isJoined(_ conversation: LogPosition) -> Bool { joined[conversation] != nil }

    /// Every id that the conversation ever had, the oldest first.
    package func family(of conversation: LogPosition) -> [LogPosition] {
        let survivor = survivor(of: conversation)
        return [survivor] + (conversations[survivor]?.joined ?? []).sorted()
    }

    /// The conversation that a message was part of when it came.
    package func origin(of message: LogPosition, in conversation: LogPosition) -> LogPosition {
        family(of: conversation).dropFirst().last { conversations[$0]?.messages.contains(message) ?? false }
            ?? conversation
    }

    package func conversation(_ client: LogPosition, _ platform: Platform, _ customer: LookupHash) -> ConversationRow? {
        byCustomer[CustomerKey(client: client, platform: platform, customer: customer)].flatMap { conversations[$0] }
    }

    mutating func apply(_ original: EventRecord) {
        var record = original
        record.conversation = survivor(of: original.conversation)
        noteReachability(record)
        switch record.event {
        case .conversationOpened(let event): open(event, record)
        case .conversationJoined(let event): join(event.joined, record)
        case .conversationUpdated(let event):
            // Nothing opens again what was erased.
            guard conversations[record.conversation]?.status != .erased else { return }
            conversations[record.conversation]?.status = event.status
            conversations[record.conversation]?.ticketRef = event.ticketRef
            conversations[record.conversation]?.lastActivity = record.time
        case .conversationIdentified(let event): identify(event, record)
        case .conversationReaddressed(let event): readdress(event, record)
        case .conversationAttributed: conversations[record.conversation]?.attribution = record.position
        case .providerEventUnrecognized(let event) where record.message == .zero:
            place(record, event.platform, event.customer)
        case .providerEventParked(let event): place(record, event.platform, event.customer)
        case .messageUnsent: unsent.insert(record.message)
        case .messageEdited(let event):
            if event.number > edits[record.message]?.number ?? 0 {
                edits[record.message] = Edit(position: record.position, number: event.number)
            }
        case .messageReacted(let event): react(event, record)
        case .messageEchoed(let event): add(record, event.platform, .outbound, .sent)
        case .messageReceived(let event):
            add(record, event.platform, .inbound, .received)
            opened(record.conversation, at: event.providerTime, record.time)
        case .sendAccepted(let event):
            add(record, event.platform, .outbound, .queued)
            if event.opens { conversations[record.conversation]?.isUnanswered = true }
        case .sendStarted(let event):
            for message in event.messages.values { raise(message, to: .sending, at: nil) }
        case .sendFinished(let event): finish(event, record)
        case .sendCanceled: raise(record.message, to: .canceled, at: record.position)
        case .sendExpired: raise(record.message, to: .failed, at: record.position)
        case .sendReconciled(let event): raise(record.message, to: event.status, at: record.position)
        case .messageStatusChanged(let event): raise(record.message, to: event.status, at: record.position)
        case .purgeRequested(let event) where event.cancels: raise(record.message, to: .failed, at: record.position)
        case .eraseRequested: erase(original.conversation)
        case .clientDeleted: for id in conversationsByClient[record.client] ?? [] { erase(id) }
        default: break
        }
    }

    private mutating func noteReachability(_ record: EventRecord) {
        switch Reachability.news(record.event) {
        case nil: return
        case .reached: conversations[record.conversation]?.reachability = nil
        case .refused(let code):
            guard let row = conversations[record.conversation], RecipientCode.reason(row.platform, code) != nil else {
                return
            }
            conversations[row.id]?.reachability = Reachability(
                code: code,
                since: row.reachability?.code == code ? row.reachability?.since ?? record.time : record.time,
                message: record.message
            )
        }
    }

    /// The same person is somebody new from here on.
    private mutating func erase(_ id: LogPosition) {
        guard let row = conversations[id] else { return }
        conversations[id]?.status = .erased
        for hash in row.everyAddress {
            let key = key(row, hash)
            if byCustomer[key] == id { byCustomer[key] = nil }
        }
    }

    /// Reacting opens the window of Messenger and Instagram; of WhatsApp nobody knows.
    private mutating func react(_ event: MessageReacted, _ record: EventRecord) {
        guard !event.removed, let row = conversations[record.conversation], row.platform != .whatsapp else { return }
        opened(row.id, at: event.providerTime, record.time)
    }

    private mutating func identify(_ event: ConversationIdentified, _ record: EventRecord) {
        guard var row = conversations[record.conversation], row.status != .erased else { return }
        row.others.append(record.position)
        row.identifiersAt = record.position
        row.isUnanswered = false
        if event.retires { row.retireIDs(but: event.customer) }
        if !event.givenUp.isAbsent, event.givenUp != event.customer {
            row.giveUp(event.givenUp)
            if byCustomer[key(row, event.givenUp)] == row.id { byCustomer[key(row, event.givenUp)] = nil }
        }
        conversations[row.id] = row
        let kind = AddressKind(recorded: event.kind)
        learn(KnownAddress(event.customer, kind, account: event.account), row)
    }

    /// The conversation is found by this address from here on, and no other one is.
    private mutating func learn(_ address: KnownAddress, _ row: ConversationRow) {
        let key = key(row, address.hash)
        if let holder = byCustomer[key], holder != row.id { conversations[holder]?.giveUp(address.hash) }
        byCustomer[key] = row.id
        conversations[row.id]?.learn(address)
        conversations[row.id]?.others += unplaced.removeValue(forKey: key) ?? []
    }

    private mutating func readdress(_ event: ConversationReaddressed, _ record: EventRecord) {
        guard let row = conversations[record.conversation], row.status != .erased else { return }
        conversations[row.id]?.account = event.account
        conversations[row.id]?.others.append(record.position)
        conversations[row.id]?.identifiersAt = record.position
    }

    private func key(_ row: ConversationRow, _ hash: LookupHash) -> CustomerKey {
        CustomerKey(client: row.client, platform: row.platform, customer: hash)
    }

    /// The younger conversation becomes part of the older. What is erased stays so, whatever a record says.
    private mutating func join(_ id: LogPosition, _ record: EventRecord) {
        guard let older = conversations[record.conversation], let younger = conversations[id], older.id < younger.id,
            !isJoined(id), older.client == younger.client, older.platform == younger.platform,
            older.status != .erased, younger.status != .erased
        else { return }
        var row = older.absorbing(younger)
        row.lastActivity = record.time
        conversations[older.id] = row
        for message in younger.messages { messages[message]?.conversation = older.id }
        for joined in [id] + younger.joined { self.joined[joined] = older.id }
        for address in younger.addresses where byCustomer[key(row, address.hash)] == id {
            byCustomer[key(row, address.hash)] = older.id
        }
    }

    /// What was taken for a message sent outside Waybill is one of ours: the provider's answer came later than its echo.
    ///
    /// - Returns: whether it was so.
    mutating func merge(echo: LogPosition, into message: LogPosition) -> Bool {
        guard let row = messages[echo], row.direction == .outbound, echo != message else { return false }
        messages[echo] = nil
        raise(message, to: row.status, at: nil)
        conversations[row.conversation]?.messages.removeAll { $0 == echo }
        conversations[row.conversation]?.others.append(echo)
        return true
    }

    private mutating func open(_ event: ConversationOpened, _ record: EventRecord) {
        let address = KnownAddress(event.customer, AddressKind(recorded: event.kind), account: event.account)
        let row = ConversationRow(
            id: record.position,
            client: record.client,
            platform: event.platform,
            customer: event.customer,
            account: event.account,
            lastActivity: record.time,
            identifiersAt: record.position,
            addresses: []
        )
        conversations[record.position] = row
        conversationsByClient[record.client, default: []].append(record.position)
        learn(address, row)
    }

    private mutating func add(
        _ record: EventRecord,
        _ platform: Platform,
        _ direction: Direction,
        _ status: MessageStatus
    ) {
        messages[record.position] = MessageRow(
            client: record.client,
            conversation: record.conversation,
            trail: record.position,
            platform: platform,
            direction: direction,
            status: status
        )
        conversations[record.conversation]?.messages.append(record.position)
        conversations[record.conversation]?.lastActivity = record.time
    }

    private mutating func opened(_ conversation: LogPosition, at said: Timestamp, _ now: Timestamp) {
        let before = conversations[conversation]?.lastInbound
        conversations[conversation]?.lastInbound = MessagingWindow.opened(before, said: said, now)
    }

    /// Puts a record where an erasure finds it.
    private mutating func place(_ record: EventRecord, _ platform: Platform, _ customer: LookupHash) {
        if record.conversation != .zero {
            conversations[record.conversation]?.others.append(record.position)
        } else if !customer.isAbsent {
            let key = CustomerKey(client: record.client, platform: platform, customer: customer)
            unplaced[key, default: []].append(record.position)
        }
    }

    private mutating func finish(_ event: SendFinished, _ record: EventRecord) {
        switch event.outcome {
        case .accepted: raise(record.message, to: .sent, at: record.position)
        case .rejected: raise(record.message, to: .failed, at: record.position)
        case .unknown: raise(record.message, to: .outcomeUnknown, at: record.position)
        case .retryLater, .misconfigured: backToQueue(record.message, at: record.position)
        }
    }

    /// A refused call had no effect, so the message is queued as before. This is the one way down.
    private mutating func backToQueue(_ message: LogPosition, at position: LogPosition) {
        messages[message]?.trail = position
        if messages[message]?.status == .sending { messages[message]?.status = .queued }
    }

    private mutating func raise(_ message: LogPosition, to status: MessageStatus, at position: LogPosition?) {
        guard var row = messages[message] else { return }
        if let position { row.trail = position }
        if status > row.status { row.status = status }
        messages[message] = row
    }
}

extension Inbox.ConversationRow {
    fileprivate mutating func learn(_ address: KnownAddress) {
        formerAddresses.removeAll { $0 == address.hash }
        guard let index = addresses.firstIndex(where: { $0.hash == address.hash }) else {
            addresses.append(address)
            return
        }
        // Who knows no kind does not know better.
        if address.kind != .unknown { addresses[index] = address }
    }

    fileprivate mutating func giveUp(_ hash: LookupHash) {
        guard addresses.contains(where: { $0.hash == hash }) else { return }
        addresses.removeAll { $0.hash == hash }
        formerAddresses.append(hash)
    }

    fileprivate mutating func retireIDs(but hash: LookupHash) {
        for index in addresses.indices where addresses[index].kind == .scopedID && addresses[index].hash != hash {
            addresses[index].isRetired = true
        }
    }
}
