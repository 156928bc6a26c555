import Hummingbird
import Log
import Logging
import NIOCore
import Projections

/// Turns every error into problem details, and gives every answer its request id.
struct ProblemMiddleware: RouterMiddleware {
    let metrics: GatewayMetrics

    func handle(
        _ request: Request,
        context: GatewayContext,
        next: (Request, GatewayContext) async throws -> Response
    ) async throws -> Response {
        var response: Response
        do {
            response = try await next(request, context)
        } catch {
            let problem = ProblemMiddleware.problem(error)
            if problem.status >= 500 {
                context.logger.log(
                    level: ProblemMiddleware.isOrdinary(error) ? .debug : .error,
                    "request failed",
                    metadata: ["code": "\(problem.code)", "detail": "\(problem.detail)"]
                )
            }
            response = Answer.problem(problem, requestID: context.requestID)
        }
        // The body of a problem would be read as the next answer.
        if request.method == .head { response = response.createHeadResponse() }
        metrics.countAnswer(response.status.code)
        if let name = Answer.requestID { response.headers[name] = context.requestID }
        return response
    }

    /// Whether it happens while all is well: the file that was asked for is still being fetched, a limit holds, or nobody waits for
    /// an answer.
    private static func isOrdinary(_ error: any Error) -> Bool {
        let ordinary: [GatewayError.Code] = [.mediaPending, .overloaded]
        return error is CancellationError || ordinary.contains { $0.rawValue == (error as? GatewayError)?.code }
    }

    /// The one place where errors of other modules become answers.
    static func problem(_ error: any Error) -> GatewayError {
        switch error {
        case let error as GatewayError: error
        case let refusal as Refusal: GatewayError(refusal)
        case let failure as SignupFailure: GatewayError(failure)
        case let error as LogError: problem(error)
        case let error as HTTPError: problem(error)
        case is NIOTooManyBytesError: GatewayError(.payloadTooLarge, "the body is too large")
        case is CancellationError: GatewayError(.unavailable, "the gateway is stopping; try again")
        default: GatewayError(.internalError, "something went wrong on our side; the request id helps us find it")
        }
    }

    private static func problem(_ error: LogError) -> GatewayError {
        switch error.code {
        case .diskFull: GatewayError(.diskFull, "the disk is full; nothing was accepted")
        case .overloaded: GatewayError(.unavailable, "the log is busy; nothing was accepted, try again")
        case .indeterminate, .closed, .directoryLost:
            GatewayError(.unavailable, "the log takes no writes; the outcome is not known")
        case .recordTooLarge: GatewayError(.payloadTooLarge, "the content is larger than a record may be")
        case _ where error.isTransient: GatewayError(.unavailable, "this host lacks descriptors or memory; try again")
        default: GatewayError(.internalError, "the log could not be read")
        }
    }

    private static func problem(_ error: HTTPError) -> GatewayError {
        switch error.status.code {
        case 404: GatewayError(.notFound, "there is nothing here")
        case 405: GatewayError(.methodNotAllowed, "this path does not take this method")
        case 413: GatewayError(.payloadTooLarge, "the body is too large")
        case 500...: GatewayError(.internalError, "something went wrong on our side")
        default: GatewayError(.invalidRequest, "the request could not be read")
        }
    }
}
