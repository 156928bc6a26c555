package import Log

/// Who the clients are: accounts, keys, secrets, channels, endpoints, and their numbered event sequences.
package struct ClientDirectory: Sendable, Equatable {
    package private(set) var clients: [LogPosition: ClientRow] = [:]
    /// Where each event of a client's sequence lies; sequence numbers start at 1. Not in the rows, which readers copy: a
    /// copied row must stay small, and appending here must never copy a long list.
    package private(set) var events: [LogPosition: [LogPosition]] = [:]
    /// The log's keyed hash of an account at Meta → whose it is.
    package private(set) var routes: [LookupHash: LogPosition] = [:]
    /// SHA-256 of an API key → whose it is.
    private var keys: [Digest: LogPosition] = [:]

    package init() {}

    package subscript(_ client: LogPosition) -> ClientRow? { clients[client] }

    /// The client a key belongs to, while the key is valid.
    package func client(forKey hash: Digest, at now: Timestamp) -> ClientRow? {
        guard let owner = keys[hash], let client = clients[owner],
            client.apiKeys.contains(where: { $0.hash == hash && now < $0.expiresAt })
        else { return nil }
        return client
    }

    mutating func apply(_ record: EventRecord) {
        let id = record.client
        switch record.event {
        case .clientCreated(let event):
            clients[record.position] = ClientRow(id: record.position, created: record.time, event)
        case .clientDeleted:
            for key in clients[id]?.apiKeys ?? [] { keys[key.hash] = nil }
            for channel in clients[id]?.channels.values ?? [:].values { removeRoute(channel.route, of: id) }
            clients[id] = nil
        case .apiKeyCreated(let event):
            for old in clients[id]?.apiKeys ?? [] where old.expiresAt <= record.time { keys[old.hash] = nil }
            clients[id]?.apiKeys.removeAll { $0.expiresAt <= record.time }
            keys[event.hash] = id
            clients[id]?.apiKeys.append(APIKeyRow(position: record.position, hash: event.hash))
        case .eventPublished(let event):
            clients[id]?.published(event)
            // Numbers of events that were lost keep their places, so that a number still says where an event stands.
            let next = UInt64(events[id]?.count ?? 0) + 1
            if event.sequence > next, event.sequence <= record.position.rawValue {
                events[id, default: []] += repeatElement(.zero, count: Int(event.sequence - next))
            }
            events[id, default: []].append(record.position)
        case .channelConnected(let event):
            if let old = clients[id]?.channels[event.platform] { removeRoute(old.route, of: id) }
            if !event.route.isAbsent { routes[event.route] = id }
            clients[id]?.apply(record)
        case .channelDisconnected(let event):
            if let old = clients[id]?.channels[event.platform] { removeRoute(old.route, of: id) }
            clients[id]?.apply(record)
        default:
            clients[id]?.apply(record)
        }
    }

    private mutating func removeRoute(_ route: LookupHash, of client: LogPosition) {
        if routes[route] == client { routes[route] = nil }
    }
}

package struct APIKeyRow: Sendable, Equatable {
    package let position: LogPosition
    package let hash: Digest
    package var expiresAt = Timestamp(.max)
}

package struct SecretRow: Sendable, Equatable {
    package let position: LogPosition
    package var expiresAt = Timestamp(.max)
}

package struct ChannelRow: Sendable, Equatable {
    /// The record that holds the sealed credentials.
    package let position: LogPosition
    package let account: LookupHash
    /// 0: Waybill does not pace this sender, the provider queues.
    package let segmentsPerSecond: UInt64
    /// How inbound traffic finds the client; absent where the URL names it.
    package let route: LookupHash
    package var pausedFor: String?
}

package struct EndpointRow: Sendable, Equatable {
    /// The record that holds the sealed URL and headers.
    package var position: LogPosition
    package var enabled: Bool
    /// Event types; `*` for all.
    package var events: [String]
    /// Empty: all channels.
    package var channels: [UInt64]
    /// Seconds from one attempt to the next.
    package var retrySchedule: [UInt64]
    package var maxInFlight: Int
    package var strictOrdering: Bool
    package var disabledReason: String?

    package init(_ position: LogPosition, _ event: EndpointConfigured) {
        self.position = position
        enabled = event.enabled
        events = event.events.values
        channels = event.channels.values
        retrySchedule = event.retrySchedule.values
        maxInFlight = Int(clamping: event.maxInFlight)
        strictOrdering = event.strictOrdering
    }

    package func wants(_ type: String, _ platform: Platform?) -> Bool { enabled && names(type, platform) }

    /// Whether the subscription includes it, enabled or not.
    package func names(_ type: String, _ platform: Platform?) -> Bool {
        guard events.contains(type) || events.contains("*") else { return false }
        guard let platform, !channels.isEmpty else { return true }
        return channels.contains(UInt64(platform.rawValue))
    }
}

/// What a client has set for itself; before that, that it answers everything itself.
package struct SettingsRow: Sendable, Equatable {
    /// The record that holds the sealed part; zero when nothing was ever set.
    package var position = LogPosition.zero
    package var repliesGlobally = true
    /// Where the client answers itself, if it does at all.
    package var replyPlatforms = Set(Platform.allCases)
    package var purgePlatforms: Set<Platform> = []

    package init() {}

    init(_ position: LogPosition, _ event: SettingsChanged) {
        self.position = position
        repliesGlobally = event.replyGlobal
        replyPlatforms = SettingsRow.platforms(event.replyPlatforms)
        purgePlatforms = SettingsRow.platforms(event.purgePlatforms)
    }

    private static func platforms(_ list: ListField<UInt64>) -> Set<Platform> {
        Set(list.values.compactMap { UInt8(exactly: $0).flatMap(Platform.init(rawValue:)) })
    }

    /// Whether the client's own backend answers.
    package func repliesExternally(_ platform: Platform) -> Bool {
        repliesGlobally && replyPlatforms.contains(platform)
    }
}

/// One client as of some position.
package struct ClientRow: Sendable, Equatable {
    package let id: LogPosition
    package let created: Timestamp
    /// The record that holds the sealed name.
    package private(set) var namePosition: LogPosition
    package private(set) var plan: Plan
    package private(set) var addon: AddonStatus
    package private(set) var trialEndsAt: Timestamp
    package private(set) var trialUsed: Bool
    package private(set) var smsMonthlyQuota: UInt64
    package private(set) var timeZone: String
    package fileprivate(set) var apiKeys: [APIKeyRow] = []
    package private(set) var secrets: [SecretRow] = []
    package private(set) var channels: [Platform: ChannelRow] = [:]
    package private(set) var endpoint: EndpointRow?
    package private(set) var settings = SettingsRow()
    /// The number of the client's last event.
    package private(set) var sequence: UInt64 = 0
    /// The last sequence number that the endpoint's subscription wanted.
    package private(set) var lastWanted: UInt64 = 0

    init(id: LogPosition, created: Timestamp, _ event: ClientCreated) {
        self.id = id
        self.created = created
        namePosition = id
        plan = event.plan
        addon = event.addon
        trialEndsAt = event.trialEndsAt
        trialUsed = event.addon == .trial
        smsMonthlyQuota = event.smsMonthlyQuota
        timeZone = event.timeZone
    }

    /// Whether webhooks and the Send API are open to this client.
    package func hasAddon(at now: Timestamp) -> Bool {
        addon == .active || (addon == .trial && now < trialEndsAt)
    }

    /// Whether the plan includes SMS and WhatsApp.
    package var planIncludesPhone: Bool { plan >= .professional }

    package func secrets(at now: Timestamp) -> [SecretRow] { secrets.filter { now < $0.expiresAt } }

    fileprivate mutating func published(_ event: EventPublished) {
        sequence = event.sequence
        if event.wanted { lastWanted = event.sequence }
    }

    /// The client as an event that is decided and not yet folded leaves it.
    func after(_ change: NewEvent, _ context: DecisionContext) -> ClientRow {
        var row = self
        row.apply(
            EventRecord(
                change.event,
                position: context.next,
                time: context.now,
                client: id,
                conversation: change.conversation,
                message: change.message,
                subject: change.subject
            )
        )
        return row
    }

    fileprivate mutating func apply(_ record: EventRecord) {
        switch record.event {
        case .clientUpdated(let event): update(event, at: record.position)
        case .settingsChanged(let event):
            settings = SettingsRow(record.position, event)
            timeZone = event.timeZone
        case .apiKeyExpires(let event):
            for index in apiKeys.indices where apiKeys[index].position == record.subject {
                apiKeys[index].expiresAt = min(apiKeys[index].expiresAt, event.at)
            }
        case .webhookSecretCreated:
            secrets.removeAll { $0.expiresAt <= record.time }
            secrets.append(SecretRow(position: record.position))
        case .webhookSecretExpires(let event):
            for index in secrets.indices where secrets[index].position == record.subject {
                secrets[index].expiresAt = min(secrets[index].expiresAt, event.at)
            }
        default: applyConnections(record)
        }
    }

    private mutating func applyConnections(_ record: EventRecord) {
        switch record.event {
        case .channelConnected(let event):
            channels[event.platform] = ChannelRow(
                position: record.position,
                account: event.account,
                segmentsPerSecond: event.segmentsPerSecond,
                route: event.route
            )
        case .channelDisconnected(let event): channels[event.platform] = nil
        case .channelPaused(let event): channels[event.platform]?.pausedFor = event.providerCode
        case .channelResumed(let event): channels[event.platform]?.pausedFor = nil
        case .endpointConfigured(let event):
            endpoint = EndpointRow(record.position, event)
        case .endpointDisabled(let event):
            endpoint?.enabled = false
            endpoint?.disabledReason = event.reason
        default: break
        }
    }

    private mutating func update(_ event: ClientUpdated, at position: LogPosition) {
        plan = event.plan
        addon = event.addon
        trialEndsAt = event.trialEndsAt
        trialUsed = event.trialUsed
        smsMonthlyQuota = event.smsMonthlyQuota
        timeZone = event.timeZone
        if event.renamed { namePosition = position }
    }
}

extension Plan: Comparable {
    package static func < (a: Plan, b: Plan) -> Bool { a.rawValue < b.rawValue }
}
