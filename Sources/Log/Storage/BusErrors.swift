import CWaybill

/// What becomes of a medium error, or a file that somebody cut, while a map of it is read: a signal, after which nothing can be
/// said of what was being done. The process ends, and says which segment it was and where.
package enum BusErrors {
    /// Call once, in a program that reads logs. Signals belong to the program, so opening a log does not do this by itself.
    package static func report() { _ = waybill_report_bus_errors() }
}
