package import Log

/// What was said: conversations, and a few dozen bytes for each message. Bodies stay in the log.
package struct Inbox: Sendable, Equatable {
    package struct ConversationRow: Sendable, Equatable {
        package let id: LogPosition
        package let client: LogPosition
        package let platform: Platform
        package let customer: LookupHash
        /// The account or number of the client's that the customer wrote to last.
        package var account: LookupHash
        package var status = ConversationStatus.open
        package var ticketRef = ""
        package var lastActivity: Timestamp
        package var lastInbound: Timestamp?
        package var messages: [LogPosition] = []
        /// The record that says best who the customer is: that of the opening, or of what became known later.
        package var identifiersAt: LogPosition
        /// We wrote first, to a number; what the provider calls it is yet to be told.
        package var isUnanswered = false
        /// Other addresses of the customer.
        package var aliases: [LookupHash] = []
        /// The record of the referral that led the customer here first.
        package var attribution: LogPosition?
        /// Other records with a key of their own, which an erasure destroys too.
        package var others: [LogPosition] = []
        /// Nil when nothing is known against it.
        package var reachability: Reachability?

        /// Every hash by which the conversation is found.
        package var addresses: [LookupHash] { [customer] + aliases }
    }

    package struct MessageRow: Sendable, Equatable {
        package let client: LogPosition
        package let conversation: LogPosition
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

    package init() {}

    package func conversation(_ client: LogPosition, _ platform: Platform, _ customer: LookupHash) -> ConversationRow? {
        byCustomer[CustomerKey(client: client, platform: platform, customer: customer)].flatMap { conversations[$0] }
    }

    mutating func apply(_ record: EventRecord) {
        noteReachability(record)
        switch record.event {
        case .conversationOpened(let event): open(event, record)
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
        case .eraseRequested: erase(record.conversation)
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
        for customer in row.addresses {
            let key = CustomerKey(client: row.client, platform: row.platform, customer: customer)
            if byCustomer[key] == id { byCustomer[key] = nil }
        }
    }

    /// Reacting opens the window of Messenger and Instagram; of WhatsApp nobody knows.
    private mutating func react(_ event: MessageReacted, _ record: EventRecord) {
        guard !event.removed, let row = conversations[record.conversation], row.platform != .whatsapp else { return }
        opened(row.id, at: event.providerTime, record.time)
    }

    private mutating func identify(_ event: ConversationIdentified, _ record: EventRecord) {
        guard let row = conversations[record.conversation], row.status != .erased else { return }
        conversations[record.conversation]?.aliases.append(event.customer)
        conversations[record.conversation]?.others.append(record.position)
        conversations[record.conversation]?.identifiersAt = record.position
        conversations[record.conversation]?.isUnanswered = false
        let key = CustomerKey(client: row.client, platform: row.platform, customer: event.customer)
        byCustomer[key] = row.id
        conversations[row.id]?.others += unplaced.removeValue(forKey: key) ?? []
    }

    private mutating func readdress(_ event: ConversationReaddressed, _ record: EventRecord) {
        guard let row = conversations[record.conversation], row.status != .erased else { return }
        conversations[row.id]?.account = event.account
        conversations[row.id]?.others.append(record.position)
        conversations[row.id]?.identifiersAt = record.position
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
        conversations[record.position] = ConversationRow(
            id: record.position,
            client: record.client,
            platform: event.platform,
            customer: event.customer,
            account: event.account,
            lastActivity: record.time,
            identifiersAt: record.position
        )
        conversationsByClient[record.client, default: []].append(record.position)
        let key = CustomerKey(client: record.client, platform: event.platform, customer: event.customer)
        byCustomer[key] = record.position
        conversations[record.position]?.others = unplaced.removeValue(forKey: key) ?? []
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
