import Hummingbird
import Projections

/// Customers who write: what they write goes to the gateway as their provider's webhooks, one after the other.
struct SandboxCustomers: Sendable {
    private enum Webhook {
        case meta([UInt8])
        case twilio([(String, String)])
    }

    let twilio: SimulatedTwilio
    let graph: SimulatedGraph
    let smsWebhook: String

    func send(_ posts: CustomerPosts) async -> Response {
        var generator = SystemRandomNumberGenerator()
        let plan = posts.plan(using: &generator)
        // A repeat is the same bytes, so each is made once.
        let webhooks = plan.webhooks.map { items in webhook(of: items.map { posts.messages[$0] }) }
        var sent: [(messages: [Int], status: Int)] = []
        for place in plan.order {
            let status = await post(webhooks[place])
            sent.append((messages: plan.webhooks[place], status: status))
        }
        return SandboxCustomers.answer(sent, isDetailed: posts.isDetailed)
    }

    /// - Parameter messages: one, or several of one platform of Meta's.
    private func webhook(of messages: [CustomerMessage]) -> Webhook {
        if let message = messages.first, message.platform == .sms { return .twilio(twilio.webhook(of: message)) }
        return .meta(graph.webhook(of: messages))
    }

    private func post(_ webhook: Webhook) async -> Int {
        switch webhook {
        case .meta(let body): return await graph.post(body)
        case .twilio(let fields): return await twilio.post(smsWebhook, fields)
        }
    }

    private static func answer(_ sent: [(messages: [Int], status: Int)], isDetailed: Bool) -> Response {
        let status = sent.first { $0.status != 200 }?.status ?? 200
        return Answer.json { json in
            json.number("gateway_status", status)
            json.bool("accepted", status == 200)
            guard isDetailed else { return }
            json.array("posts") { json in
                for post in sent {
                    json.element { json in
                        json.object { json in
                            json.array("messages") { json in
                                for index in post.messages { json.element { $0.number(index) } }
                            }
                            json.number("gateway_status", post.status)
                        }
                    }
                }
            }
        }
    }
}
