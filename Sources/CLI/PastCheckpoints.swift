import ArgumentParser
import Log
import Projections

/// The checkpoints that a log is checked against: those given, and the one in the data directory.
struct PastCheckpoints {
    private var notes: [Note]
    /// That the one in the data directory is damaged must not keep anybody from the check of everything else.
    private(set) var unreadable: [VerifyResult.Problem] = []
    /// The keys that were given.
    private let verifierKeys: [VerifierKey]

    private struct Note {
        let name: String
        let note: SignedNote
        let checkpoint: Checkpoint
        /// Whether it is the one in the data directory, which the keys that were given say nothing about.
        let isOwn: Bool

        init(_ name: String, _ text: String, isOwn: Bool) throws(LogError) {
            guard let note = SignedNote(text), let checkpoint = Checkpoint(text: note.text) else {
                throw LogError(.unknownFormat, "\(name) is not a signed checkpoint")
            }
            self.name = name
            self.note = note
            self.checkpoint = checkpoint
            self.isOwn = isOwn
        }
    }

    var checkpoints: [Checkpoint] { notes.map(\.checkpoint) }

    init(_ data: String, files: [String], verifierKeys texts: [String]) throws {
        verifierKeys = try texts.map { text in
            guard let key = VerifierKey(text) else {
                throw ValidationError("--vkey is not a verifier key like name+1234abcd+AbC…")
            }
            return key
        }
        notes = try files.map { file in
            let text = String(decoding: try PosixStorage().readAll(file, limit: 1 << 20), as: UTF8.self)
            return try Note(file, text, isOwn: false)
        }
        do {
            let own = data + "/" + Checkpoint.fileName
            if let text = try Checkpoint.load(data) { notes.append(try Note(own, text, isOwn: true)) }
        } catch {
            unreadable = [VerifyResult.Problem(text: "\(error.message); waybill serve makes it anew")]
        }
    }

    /// Keys that were given and that the history does not name: nothing that they signed is proven to be of this log.
    func unknownKeys(_ history: SigningHistory) -> [VerifyResult.Problem] {
        let names = PastCheckpoints.list(history.keys)
        return verifierKeys.filter { !history.keys.contains($0) }.map { key in
            VerifyResult.Problem(
                text: "--vkey \(key) is not a key that this history signed with; it names \(names). Give the key that "
                    + "waybill checkpoint --vkey printed when the checkpoint was made, and make sure that --data is the log you mean",
                isDamage: false
            )
        }
    }

    private static func list(_ keys: [VerifierKey]) -> String {
        keys.isEmpty ? "none" : keys.map(\.description).joined(separator: ", ")
    }

    /// Judges each checkpoint by the key of its time. Findings of the report that are about one which is no part of this
    /// history are taken out: they say nothing of the log.
    func judge(
        _ history: SigningHistory,
        _ report: inout LogVerifier.Report
    ) -> (problems: [VerifyResult.Problem], notes: [String]) {
        var problems: [VerifyResult.Problem] = []
        var remarks: [String] = []
        for note in notes {
            let isOurs = !report.findings.contains { $0.checkpoint == note.checkpoint }
            let judgement = judge(note, history, isOurs: isOurs)
            guard let text = explain(judgement, note, history) else { continue }
            if PastCheckpoints.isOfAnotherHistory(judgement) {
                report.findings.removeAll { $0.checkpoint == note.checkpoint }
            }
            // A restore leaves the file of the log before, and the first start replaces it.
            if note.isOwn, case .abandoned = judgement {
                remarks.append(text + "; waybill serve makes it anew")
            } else {
                problems.append(VerifyResult.Problem(text: text, isDamage: false))
            }
        }
        return (problems, remarks)
    }

    private func judge(_ note: Note, _ history: SigningHistory, isOurs: Bool) -> SigningHistory.Judgement {
        let given = verifierKeys.isEmpty || note.isOwn ? nil : verifierKeys
        // A damaged log may name no key; then only the roots were compared.
        if given == nil, history.keys.isEmpty { return .genuine }
        return history.judge(note.note, of: note.checkpoint, by: given, isOurs: isOurs)
    }

    private static func isOfAnotherHistory(_ judgement: SigningHistory.Judgement) -> Bool {
        switch judgement {
        case .abandoned, .foreign: true
        case .genuine, .unsigned, .unnamed, .outOfTime: false
        }
    }

    /// Nil where there is nothing to say, or where it was said of the key.
    private func explain(
        _ judgement: SigningHistory.Judgement,
        _ note: Note,
        _ history: SigningHistory
    ) -> String? {
        let keys = PastCheckpoints.list(verifierKeys.isEmpty || note.isOwn ? history.keys : verifierKeys)
        let size = note.checkpoint.size
        switch judgement {
        case .genuine, .unnamed: return nil
        case .unsigned: return "\(note.name) is not signed by \(keys); give the key that signed it with --vkey"
        case .foreign:
            return "\(note.name) is of the log \(note.checkpoint.origin), which this one never was; "
                + "it is not signed by \(keys)"
        case .outOfTime(let key, let from, let through):
            let time = through.map { "to \($0)" } ?? "on"
            return "\(note.name), of \(size) records, is signed by \(key), which was in force from position "
                + "\(from) \(time): another key signed a log of that size"
        case .abandoned(let branch):
            return "\(note.name), of \(size) records, belongs to a branch that was abandoned: this log went on from "
                + "position \(branch.shared) under a new identity, as position \(branch.position) says, and knows nothing "
                + "of what was signed behind that"
        }
    }
}
