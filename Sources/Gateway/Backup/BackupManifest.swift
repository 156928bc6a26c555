import Log
import Projections

/// What a backup is: `backup.json`, beside it the MAC that binds every file to the backup key. Format: `docs/backup.md`.
struct BackupManifest {
    static let name = "backup.json"
    static let macName = "backup.mac"
    static let keysName = "keys.backup"
    static let format = "waybill-backup/1"
    private static let sizeMax = 64 << 20

    let created: Timestamp
    let horizon: Timestamp
    let logID: String
    let position: LogPosition
    let root: Digest
    let keyEpoch: UInt32
    /// Where the backup key was.
    let keyFile: String
    let keyID: [UInt8]
    let files: [LogCopy.File]
    /// What there is of media files, which are not among the others.
    let media: MediaFiles.Tally

    var encoded: [UInt8] {
        JSONWriter.object { json in
            json.string("format", BackupManifest.format)
            json.time("created_at", created)
            json.time("horizon", horizon)
            json.string("log_id", logID)
            json.number("position", position.rawValue)
            json.string("root", Base64.encode(root.bytes))
            json.number("key_epoch", keyEpoch)
            json.string("backup_key_file", keyFile)
            json.string("backup_key_id", Hex.encode(keyID))
            json.array("files") { json in
                for file in files {
                    json.element { json in
                        json.object { json in
                            json.string("name", file.name)
                            json.number("size", file.size)
                            json.string("sha256", Hex.encode(file.digest.bytes))
                        }
                    }
                }
            }
            json.object("media") { json in
                json.number("files", media.files)
                json.number("bytes", media.bytes)
            }
        }
    }

    /// Writes both files; the manifest last, for it makes the directory a backup.
    func store(in directory: String, key: [UInt8], storage: any Storage) throws {
        let bytes = encoded
        let mac = Hex.encode(Crypto.hmacSHA256(key: BackupKey.manifestKey(of: key), message: bytes))
        try storage.replaceFile(directory + "/" + BackupManifest.macName, with: [UInt8]((mac + "\n").utf8))
        try storage.replaceFile(directory + "/" + BackupManifest.name, with: bytes)
    }

    /// Whether a backup has a file of this name, whole or not.
    static func isPart(_ name: String) -> Bool {
        let suffix = [LogCopy.partSuffix, ".tmp"].first { name.hasSuffix($0) } ?? ""
        let whole = String(name.dropLast(suffix.count))
        return [BackupManifest.name, macName, keysName].contains(whole) || LogCopy.isSegment(whole)
    }

    /// The bytes of a manifest, not yet known to be genuine.
    static func bytes(in directory: String, storage: any Storage) throws -> [UInt8] {
        guard let names = try? storage.list(directory), names.contains(name) else {
            throw GatewayError(.notFound, "\(directory) holds no backup: there is no \(name) in it")
        }
        return try storage.readAll(directory + "/" + name, limit: sizeMax)
    }

    /// Whether whoever had the backup key wrote these bytes.
    static func isGenuine(_ bytes: [UInt8], in directory: String, key: [UInt8], storage: any Storage) -> Bool {
        guard let text = try? storage.readAll(directory + "/" + macName, limit: 4096) else { return false }
        let mac = Crypto.hmacSHA256(key: BackupKey.manifestKey(of: key), message: bytes)
        return Crypto.equalConstantTime(text, [UInt8]((Hex.encode(mac) + "\n").utf8))
    }
}

extension BackupManifest {
    /// - Throws: `invalidRequest` when the bytes are not a manifest.
    init(_ bytes: [UInt8]) throws {
        let fields = try JSONFields(bytes)
        func broken(_ name: String) -> GatewayError {
            GatewayError(.invalidRequest, "\(BackupManifest.name) is not one that this version can read: \(name)")
        }
        guard try fields.string("format") == BackupManifest.format else { throw broken("format") }
        guard let created = RFC3339.parse(try fields.require("created_at")) else { throw broken("created_at") }
        guard let horizon = RFC3339.parse(try fields.require("horizon")) else { throw broken("horizon") }
        guard let root = Base64.decode(try fields.require("root")).flatMap({ Digest($0) }) else { throw broken("root") }
        guard let keyID = Hex.decode(try fields.require("backup_key_id")) else { throw broken("backup_key_id") }
        self.created = created
        self.horizon = horizon
        self.root = root
        self.keyID = keyID
        logID = try fields.require("log_id")
        keyFile = try fields.require("backup_key_file")
        position = LogPosition(UInt64(try fields.integer("position", in: 1...Int64.max) ?? 0))
        keyEpoch = UInt32(try fields.integer("key_epoch", in: 1...Int64(UInt32.max)) ?? 0)
        files = try (fields.objects("files") ?? []).map { file in
            let name = try file.require("name")
            guard name == BackupManifest.keysName || LogCopy.isSegment(name) else { throw broken("files") }
            guard let digest = Hex.decode(try file.require("sha256")).flatMap({ Digest($0) }) else {
                throw broken("files")
            }
            return LogCopy.File(
                name: name,
                size: UInt64(try file.integer("size", in: 0...Int64.max) ?? 0),
                digest: digest
            )
        }
        // Backups of earlier versions have none.
        let media = try fields.object("media")
        self.media = MediaFiles.Tally(
            files: UInt64(try media?.integer("files", in: 0...Int64.max) ?? 0),
            bytes: UInt64(try media?.integer("bytes", in: 0...Int64.max) ?? 0)
        )
    }
}
