package import Log

/// What can be wrong with an event or the state made of it.
package struct ProjectionError: Error, Sendable, Equatable, CustomStringConvertible {
    package enum Code: String, Sendable {
        /// The payload is not what its type and schema version promise.
        case malformedEvent = "event_malformed"
        /// Written by a newer version of Waybill.
        case unknownEvent = "event_unknown"
        /// The event contradicts the events before it.
        case inconsistent = "event_inconsistent"
    }

    package let code: Code
    package let position: LogPosition
    package let message: String

    package init(_ code: Code, at position: LogPosition, _ message: String) {
        self.code = code
        self.position = position
        self.message = message
    }

    package static func == (a: ProjectionError, b: ProjectionError) -> Bool { a.code == b.code }

    package var description: String { "\(code.rawValue) at position \(position): \(message)" }
}
