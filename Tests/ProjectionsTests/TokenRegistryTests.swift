import Log
import Projections
import Testing

@Suite struct TokenRegistryTests {
    private static let hash = Digest(Crypto.sha256([1])) ?? .zero

    private func world(expiresAfter seconds: UInt64?) -> (World, LogPosition) {
        var world = World()
        var created = TokenCreated()
        created.role = .operator
        created.hash = Self.hash
        created.label = "night shift"
        if let seconds { created.expiresAt = world.now.advanced(bySeconds: seconds) }
        let token = world.apply(.tokenCreated(created))
        return (world, token)
    }

    @Test func aTokenEndsAtItsTime() {
        let (world, token) = world(expiresAfter: 60)
        let registry = world.state.tokens
        let end = world.now.advanced(bySeconds: 60)
        #expect(registry.token(forHash: Self.hash, at: Timestamp(end.nanoseconds - 1))?.position == token)
        #expect(registry.token(forHash: Self.hash, at: end) == nil)
        #expect(registry.rows[token]?.expiresAt == end, "it stays listed")
        #expect(registry.token(forHash: .zero, at: world.now) == nil)
    }

    /// As every token of an older log.
    @Test func aTokenWithoutAnEndHasNone() {
        let (world, token) = world(expiresAfter: nil)
        #expect(world.state.tokens.token(forHash: Self.hash, at: Timestamp(.max))?.position == token)
        #expect(world.state.tokens.rows[token]?.expiresAt == nil)
    }

    @Test func useIsNewsAfterAnHour() throws {
        var (world, token) = world(expiresAfter: nil)
        #expect(try #require(world.state.tokens.rows[token]).isUseNews(at: world.now))
        world.apply(.tokenUsed(TokenUsed()), subject: token)
        let used = try #require(world.state.tokens.rows[token])
        let time = try #require(used.lastUsed)
        #expect(!used.isUseNews(at: time))
        #expect(!used.isUseNews(at: time.advanced(bySeconds: 3599)))
        #expect(used.isUseNews(at: time.advanced(bySeconds: 3600)))
        #expect(!used.isUseNews(at: Timestamp(0)), "a clock that went back is no news")
        #expect(try world.rebuilt().tokens == world.state.tokens)
    }

    @Test func whatIsRevokedIsNotUsed() {
        var (world, token) = world(expiresAfter: nil)
        world.apply(.tokenRevoked(TokenRevoked()), subject: token)
        world.apply(.tokenUsed(TokenUsed()), subject: token)
        #expect(world.state.tokens.rows.isEmpty)
        #expect(world.state.tokens.token(forHash: Self.hash, at: world.now) == nil)
    }
}
