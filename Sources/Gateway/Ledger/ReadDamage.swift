import Log

/// Reads several records for one answer, and remembers whether one of them is damaged on the disk: that must hide neither the
/// others nor the rest of a list, and the answer says so (`damaged`).
struct ReadDamage {
    private(set) var isMet = false

    /// Nil when what was to be read is damaged.
    mutating func read<T>(_ body: () throws -> T) throws -> T? {
        do {
            return try body()
        } catch let error as LogError where error.code == .corrupt {
            // The log has raised its alarm.
            isMet = true
            return nil
        }
    }
}
