import Log
import Projections

/// The operator token that a first start prints.
struct FirstToken: Sendable {
    let ledger: Ledger

    /// Makes an operator token unless there is one. Called once the port is bound, before the first request is read.
    ///
    /// It is printed before it is put on record. A process that ends in between leaves a token on the screen that does not
    /// count, and the next start prints another. The other way round it would leave one that counts and that nobody saw.
    func print(_ announce: @Sendable (String) -> Void) async {
        do {
            if try await TokenControl(ledger).hasOperator() { return }
            let (token, hash) = Credential.make(Credential.operatorToken)
            announce("Operator token (shown once): \(token)")
            _ = try await ledger.commit(edge: false) { _, _ in
                var event = TokenCreated()
                event.role = .operator
                event.hash = hash
                event.label = "first start"
                event.actor = ledger.name(.firstStart)
                return ([NewEvent(.tokenCreated(event))], ())
            }
        } catch {
            announce("The operator token could not be stored, so it does not count: \(error)")
            announce("Make one with: waybill token create")
        }
    }
}
