package import Projections

/// What `POST /sandbox/messages` asks for: one message or a list of them, and how their webhooks go out.
package struct CustomerPosts: Sendable {
    package static let messagesMax = 100
    static let repeatMax: Int64 = 10

    package let messages: [CustomerMessage]
    /// Whether the answer says more than that of one webhook does.
    let isDetailed: Bool
    private let repeats: Int
    private let isBatch: Bool
    private let isShuffled: Bool

    /// Webhooks to be sent, as indices of their messages, in the order in which they stand in the body.
    package struct Plan: Sendable {
        package let webhooks: [[Int]]
        /// Indices of `webhooks`, in the order in which they are sent; one that is repeated is there again.
        package let order: [Int]
    }

    package init(_ fields: JSONFields, over platform: Platform? = nil) throws {
        repeats = Int(try fields.integer("repeat", in: 1...CustomerPosts.repeatMax) ?? 1)
        guard let list = try fields.objects("messages") else {
            messages = [try CustomerMessage(fields, over: platform, beside: ["repeat"])]
            isDetailed = repeats > 1
            isBatch = false
            isShuffled = false
            return
        }
        try fields.allow(["messages", "repeat", "batch", "shuffle"])
        guard (1...CustomerPosts.messagesMax).contains(list.count) else {
            throw fields.wrong("messages", "a list of 1 to \(CustomerPosts.messagesMax) messages")
        }
        messages = try list.map { try CustomerMessage($0, over: platform) }
        guard messages.count(where: { $0.file != nil }) <= SandboxFiles.countMax else {
            throw fields.wrong("messages", "a list with at most \(SandboxFiles.countMax) files, for no more are kept")
        }
        isDetailed = true
        isBatch = try fields.bool("batch") ?? false
        isShuffled = try fields.bool("shuffle") ?? false
    }

    package func plan(using generator: inout some RandomNumberGenerator) -> Plan {
        var items = Array(messages.indices)
        if isShuffled { items.shuffle(using: &generator) }
        let webhooks = isBatch ? batches(items) : items.map { [$0] }
        var order = webhooks.indices.flatMap { Array(repeating: $0, count: repeats) }
        if isShuffled { order.shuffle(using: &generator) }
        return Plan(webhooks: webhooks, order: order)
    }

    /// Meta has one object for each of its platforms, and a webhook is about one object. Twilio tells of each message by itself.
    private func batches(_ items: [Int]) -> [[Int]] {
        var batches: [[Int]] = []
        var places: [Platform: Int] = [:]
        for item in items {
            let platform = messages[item].platform
            if platform != .sms, let place = places[platform] {
                batches[place].append(item)
            } else {
                places[platform] = batches.count
                batches.append([item])
            }
        }
        return batches
    }
}
