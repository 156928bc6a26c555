/// The written schema of every event, as `docs/events.md` has it; a test holds the two together.
package enum EventCatalogue {
    package static func summary(of type: EventType) -> String {
        switch type {
        case .logCreated:
            "The first record. `id_key` keys the permutation that makes API ids from positions."
        case .tailDiscarded: "Opening found bytes that were never acknowledged and moved them to quarantine."
        case .clockJumped:
            "The wall clock moved by more than 60 s against the boot clock. No timer follows it. `wall_before`: where it would have been; `boot_id`, `boot_nanoseconds`: the boot of the machine and its clock."
        case .processStarted:
            "A process opened the log for writing. `boot_id`, `boot_nanoseconds`, `wall`: what the machine's clocks showed."
        case .processStopped: "A process closed the log in order. The clocks as in `process.started`."
        case .rootKeyRotated: "The key state was sealed under a new root key."
        case .logKeyRotated: "Checkpoints are signed with a new key."
        case .logRestored:
            "The log or its keys were restored from a backup. log_id: the identity from here on, where it is a new log."
        case .logBackedUp: "A backup was begun. Until the horizon it may open what is purged after it."
        case .tokenCreated:
            "An operator or auditor token. `hash` is SHA-256 of the token. `expires_at` 0: it does not expire. subject: none."
        case .logSalvaged:
            "The log went on from what was whole of a damaged one, under the identity log_id. `through`: the last position taken over; `checkpoint_size`, `checkpoint_root`: the last signed checkpoint of the log before. `lost`: first and last position of each run that was lost, as far as one record can name them; `lost_count`: how many positions in all."
        case .recordLost:
            "Stands at the position of a record that was damaged and is lost. `first`, `last`: the run of positions it belongs to."
        case .tokenRevoked: "subject: the record that created the token."
        case .tokenUsed:
            "Somebody came in with the token; at most one record an hour says so. subject: the record that created the token."
        case .clientCreated: "A new client. Sealed content: name and look-up key."
        case .clientUpdated: "The whole account as it is now. Sealed content, when present: the new name."
        case .clientDeleted: "The client is gone: its keys end and nothing of it can be asked for any more."
        case .apiKeyCreated: "`hash` is SHA-256 of the key. Sealed content, of the sandbox's demo client only: the key."
        case .apiKeyExpires: "An older key ends at this time. subject: the record that created the key."
        case .webhookSecretCreated: "Sealed content: the 32 bytes of the secret."
        case .webhookSecretExpires: "An older secret ends at this time. subject: the record that created it."
        case .settingsChanged:
            "The client's settings as they are now. Sealed content: AI prompt and escalation phrases."
        case .channelConnected:
            "Sealed content: account ids, numbers and credentials as JSON. `account` is the client's keyed hash of the account; `route` the log's, by which inbound traffic of Meta's finds the client."
        case .channelDisconnected: "The channel is gone; its credential is not used any more."
        case .channelPaused: "The provider refused the credential; sends wait until it changes."
        case .channelResumed: "Sends go on."
        case .endpointConfigured:
            "The whole webhook endpoint as it is now. Sealed content: URL and headers as JSON."
        case .endpointDisabled: "Waybill disabled the endpoint."
        case .endpointProbed: "A half-open probe of a failing endpoint."
        case .conversationOpened:
            "Sealed identifiers: the customer's and our own address as JSON. `customer` is the keyed hash that finds it again. `kind` of that address: 0 unknown, 1 number, 2 WhatsApp's business-scoped id."
        case .conversationIdentified:
            "The customer is also known by another identifier, whose conversation that was before or not. Sealed identifiers. `kind` as in `conversation.opened`; `account`: keyed hash of ours that was told. `given_up`: keyed hash of a number that finds the conversation no more. `retires`: business-scoped ids known before still find it, and do not tell the customer from another any more."
        case .conversationUpdated: "status and ticket reference as they are now."
        case .conversationEscalated: "Sealed content: the reason."
        case .conversationResolved: "An escalation ended."
        case .conversationAttributed: "The referral that started the conversation. Sealed content."
        case .eraseRequested: "From here on nobody reads the conversation."
        case .conversationErased: "Keys of identifiers and of every message are destroyed. `customer` survives."
        case .customerOptedOut:
            "The customer asked for no more messages. `customer` survives an erasure. `source`: `provider` when it refused a message for that; empty when the customer wrote so."
        case .customerOptedIn: "The customer asked for messages again."
        case .conversationJoined:
            "Two conversations turned out to be with one customer. conversation: the older one, which goes on with all of both. `joined`: the younger one, whose id stands for the older from here on."
        case .leadCaptured: "Drawn from a message. Sealed content: e-mail, phone, name."
        case .conversationReaddressed:
            "The customer wrote to another number of the client's, from which answers go out now. `account`: its keyed hash. Sealed identifiers."
        case .messageReceived:
            "Sealed content: text and structure; sealed provider bytes. `duplicate_key` is the keyed hash of the provider's id. `purge_by`: the body is purged after its one delivery, at the latest then. `files`: how many are to be fetched. `provider_time`: what the provider said. `standby`: it came while another app held the conversation."
        case .messageEdited:
            "message: the edited one. Sealed content: the message as it is now. subject: where the edit was parked, if it was."
        case .messageUnsent:
            "Whoever wrote it withdrew it; it is purged. message: the withdrawn one. subject: where this was parked, if it was."
        case .messageReacted:
            "message: the one reacted to. Sealed content: the emoji. subject: where the reaction was parked, if it was."
        case .messageEchoed: "Sent by the business outside Waybill. Sealed content."
        case .providerEventUnrecognized:
            "Verified but of a kind Waybill does not know, of no effect, or about a customer's addresses and no message. Sealed provider bytes. `customer`: keyed hash of the customer's address. subject: where it was parked, if it was."
        case .providerEventParked:
            "Refers to a message that has not come yet. Sealed content: the provider's item in a request of its own. `target`: keyed hash of that message's id; `customer`: of the customer's address."
        case .mediaFetched:
            "message: the one it belongs to, under whose key the file is sealed. Sealed content: its media type. `digest`: SHA-256 of the sealed file."
        case .mediaFailed:
            "message: the one it belongs to. `next_attempt_at`: when it is tried again; 0 when it is given up."
        case .messageStatusChanged:
            "The provider reported a status. message: the one sent. `previous`: the message's status record before this. subject: where the report was parked, if it was. `provider_key`: keyed hash of the provider's id, where that was not known; sealed content: the id."
        case .sendAccepted:
            "Its position is the message. Sealed content: the request. `key`: keyed hash of the idempotency key; `fingerprint`: of the request. `purges`: the body is purged once its outcome is settled. `window_until`: it must go out by then, unless the customer writes again; 0 for ever."
        case .sendRefused: "Refused on policy. No body is kept."
        case .sendCanceled: "Canceled while queued. message: the canceled one."
        case .sendExpired: "`expires_at` passed before the provider was called."
        case .sendStarted:
            "Durable before the first byte goes to the provider. One record for several messages."
        case .sendFinished:
            "What became of a call. Sealed content: the provider's message id; sealed response excerpt. `provider_key`: keyed hash of that id."
        case .sendReconciled: "An unknown outcome was settled by asking the provider."
        case .eventPublished:
            "An event of the client's numbered sequence. Sealed rendering: the webhook body, exact but for what is told of files. Its position is the event and, when wanted, its delivery. `files`: the rendering has places for what is known of the message's files when it is delivered. `held`: why its delivery may not begin yet; absent when it may."
        case .deliveryStarted: "Durable before the first byte goes out. One record for several deliveries."
        case .deliveryFinished:
            "Outcome and next attempt in one record. subject: the delivery. Sealed response excerpt."
        case .deliveryReplayed:
            "A dead letter is delivered again under a delivery id of its own, which is this position. subject: the event."
        case .deliveryDiscarded: "A dead letter was discarded by hand. subject: the delivery."
        case .deliveryReleased: "Deliveries that were held may begin. One record for several of a client."
        case .purgeRequested:
            "From here on nobody reads the body. message: the purged one. `cancels`: it was queued and is not sent any more. `previous`: the message's status record before this. `undelivered`: why the endpoint had no attempt at what it was to be told."
        case .purgeCompleted:
            "The keys are destroyed. One record for several messages, conversations, clients, and records that hold a secret."
        case .aiReplied: "Waybill's own assistant answered. message: the reply."
        }
    }

    /// The table of `docs/events.md`.
    package static var markdown: String {
        var text = "| number | event | fields | meaning |\n|---|---|---|---|\n"
        for type in EventType.allCases {
            let fields = type.prototype.fields.map { "`\($0.number) \($0.name)` \($0.kind.rawValue)" }
            text += "| \(type.rawValue) | `\(type.name)` | \(fields.joined(separator: ", ")) | \(summary(of: type)) |\n"
        }
        return text
    }
}
