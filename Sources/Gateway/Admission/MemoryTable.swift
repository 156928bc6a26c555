/// How much memory is held, in all and for each account that it is charged to. Pure.
package struct MemoryTable<Account: Hashable & Sendable>: Sendable {
    private let most: Int
    private let mostPerAccount: Int
    private var held: [Account: Int] = [:]
    package private(set) var total = 0

    /// - Parameters:
    ///   - most: bytes in all.
    ///   - mostPerAccount: of them, for one account.
    package init(most: Int, mostPerAccount: Int) {
        self.most = most
        self.mostPerAccount = min(most, mostPerAccount)
    }

    /// Claims more for all of the accounts at once, or nothing when that is too much for the whole or for one of them.
    package mutating func claim(_ bytes: Int, for accounts: [Account]) -> Bool {
        guard bytes >= 0, bytes <= most - total else { return false }
        guard accounts.allSatisfy({ bytes <= mostPerAccount - (held[$0] ?? 0) }) else { return false }
        total += bytes
        for account in accounts where bytes > 0 { held[account, default: 0] += bytes }
        return true
    }

    /// - Parameter bytes: not more than was claimed for these accounts.
    package mutating func release(_ bytes: Int, of accounts: [Account]) {
        total -= bytes
        for account in accounts {
            guard let before = held[account] else { continue }
            held[account] = before > bytes ? before - bytes : nil
        }
    }

    package func held(by account: Account) -> Int { held[account] ?? 0 }
}
