import Hummingbird
import Log
import Projections

/// Health, readiness, metrics, and the description of the API.
struct OperationsRoutes: Sendable {
    let ledger: Ledger
    let metrics: GatewayMetrics
    let connections: ConnectionRegistry?
    let memory: RequestMemory

    func add(to router: Routes) {
        router.get("/healthz") { _, _ in Answer.json { $0.string("status", "ok") } }
        router.get("/readyz") { _, _ in try ready() }
        router.get("/metrics") { _, _ in render() }
        router.get("/openapi.yaml") { _, _ in
            Answer.text(.ok, "application/yaml", String(decoding: PackageResources.openapi_yaml, as: UTF8.self))
        }
    }

    /// Ready: recovered, the log takes writes, and purges can be carried out.
    private func ready() throws -> Response {
        if let failure = ledger.log.failure {
            throw GatewayError(.unavailable, "the log has stopped (\(failure.code.rawValue)); restart to recover")
        }
        if let failure = ledger.keys.failure {
            throw GatewayError(.unavailable, "the key state has stopped (\(failure.code.rawValue)); restart to recover")
        }
        try ledger.log.admitEdge()
        return Answer.json { json in
            json.string("status", "ready")
            json.number("position", ledger.log.durable.rawValue)
        }
    }

    private func render() -> Response {
        let gauges = ledger.plan { state in
            [
                ("waybill_log_position", state.position.rawValue),
                ("waybill_deliveries_in_flight", UInt64(state.deliveries.inFlightByClient.values.reduce(0, +))),
                ("waybill_sends_unsettled", UInt64(state.sends.rows.count)),
                ("waybill_idempotency_keys", UInt64(state.idempotency.count)),
            ].map { (name: $0.0, value: $0.1) }
        }
        let clock = ledger.clock.status
        let clocks = [
            (name: "waybill_clock_jumps_total", value: UInt64(clock.jumps)),
            (name: "waybill_clock_behind_seconds", value: UInt64(max(clock.behind, 0)) / 1_000_000_000),
            (name: "waybill_clock_ahead_seconds", value: min(clock.behind, 0).magnitude / 1_000_000_000),
        ]
        let durable = (name: "waybill_log_durable_position", value: ledger.log.durable.rawValue)
        let waiting = (name: "waybill_waiting_requests", value: UInt64(max(0, ledger.waiters.count)))
        let open = connections.map { [(name: "waybill_connections", value: UInt64(max(0, $0.count)))] } ?? []
        let held = (name: "waybill_request_memory_bytes", value: UInt64(max(0, memory.bytes)))
        let all = gauges + clocks + [durable, waiting, held] + open
        return Answer.text(.ok, "text/plain; version=0.0.4", metrics.render(gauges: all))
    }
}
