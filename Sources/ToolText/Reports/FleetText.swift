// A line of `qatlas fleet`: one image as one flat object of JSON, which databases load as it is. Every line has all
// members, and null for what is not known.

package import Cartography
package import Qcow
import Storage

/// An image among many, as a line.
package struct FleetText {
  private let row: FleetRow

  package init(_ row: FleetRow) { self.row = row }

  /// The line without its end; ASCII, whatever the names are.
  package var line: String { ReportValue.object(members).jsonLine }

  /// Why there is no verdict; nil if there is one.
  package var reason: String? { row.unchecked ?? row.check.flatMap(CheckText.failure) }

  /// Names and sentences; a zero byte, which no file has in its name, would end them elsewhere.
  private func text(_ value: String?) -> ReportValue {
    value.map { .string($0.replacing("\0", with: "\u{fffd}")) } ?? .unknown
  }

  private func number(_ value: UInt64?) -> ReportValue { value.map { .number($0) } ?? .unknown }
  private func truth(_ value: Bool?) -> ReportValue { value.map { .bool($0) } ?? .unknown }

  private var members: [Field] { file + disk + space + layers + health }

  private var file: [Field] {
    [
      Field("path", text(row.path)), Field("path_hex", text(Self.hex(row.path))),
      Field("stamp", .string(isExact ? row.stamp : "")), Field("bytes", number(row.bytes)),
      Field("mtime_ns", row.modified.map { .number(UInt64(max(0, $0))) } ?? .unknown),
      Field("format", text(row.format)), Field("version", number(row.version.map(UInt64.init))),
      Field("features", .array(row.features.map { .string($0) })),
    ]
  }

  private var disk: [Field] {
    [
      Field("cluster_size", number(row.clusterSize)), Field("virtual_bytes", number(row.virtualSize)),
      Field("mapped_bytes", number(row.mapped)), Field("zero_bytes", number(row.zero)),
      Field("compressed_bytes", number(row.compressed)),
    ]
  }

  private var space: [Field] {
    [
      Field("host_bytes", number(row.hostBytes)), Field("data_file", text(row.dataFile)),
      Field("data_host_bytes", number(row.dataHostBytes)),
      Field("reclaimable_bytes", number(row.reclaimable)), Field("leaked_bytes", number(row.leaked)),
      Field("free_inside_bytes", number(row.freeInside)), Field("free_end_bytes", number(row.freeAtEnd)),
      Field("runs", number(row.runs)), Field("best_runs", number(row.bestRuns)),
      Field("fragmented_percent", row.fragmented.map { .decimal($0, places: 2) } ?? .unknown),
    ]
  }

  private var layers: [Field] {
    [
      Field("backing", text(row.backing)), Field("parent", text(row.parent)),
      Field("chain", .array(row.chain.map { text($0) })), Field("depth", .number(UInt64(row.chain.count))),
      Field("chain_error", text(row.chainProblem)),
      Field("snapshots", number(row.snapshots.map { UInt64($0) })),
      Field("snapshot_bytes", number(row.snapshotBytes)),
    ]
  }

  private var health: [Field] {
    [
      Field("check", row.isImage ? .string(row.verdict.rawValue) : .unknown),
      Field("errors", number(row.check?.corruptions)), Field("leaks", number(row.check?.leaks)),
      Field("check_reason", text(reason)), Field("dirty", truth(row.isDirty)),
      Field("corrupt", truth(row.isCorrupt)),
      Field("encrypted", truth(row.isEncrypted)), Field("locked", .bool(row.isLocked)),
      Field("seconds", .decimal(row.seconds, places: 4)),
      Field("notes", row.notes.isEmpty ? .unknown : text(row.notes.joined(separator: "; "))),
      Field("error", text(row.error)),
    ]
  }

  /// The names of the other files are found again in the line.
  private var isExact: Bool {
    (row.chain + (row.dataFile.map { [$0] } ?? [])).allSatisfy { Self.hex($0) == nil }
  }

  /// The bytes of a name that is not UTF-8, as digits; nil for all others, which JSON keeps.
  private static func hex(_ name: String) -> String? {
    let bytes = ByteText.bytes(name)
    guard
      String(validating: bytes, as: UTF8.self) == nil
        || !ByteText.areSame(name, String(decoding: bytes, as: UTF8.self))
    else { return nil }
    return bytes.map { Notation.hex(UInt64($0), width: 2) }.joined()
  }
}

/// What an earlier line says of its image: enough to know whether it still holds.
package struct FleetLine {
  /// The name of the image.
  package let path: String
  private let stamp: String
  private let chain: [String]
  private let dataFile: String?

  /// More than a line has for a chain as long as can be.
  private static let mostMembers = 400

  /// Nil for what is no line of ``FleetText``.
  package init?(_ line: String) {
    guard let members = try? JsonName(line, most: Self.mostMembers).members, let path = members["path"],
      let hex = members["path_hex"], let stamp = members["stamp"],
      let depth = members["depth"].flatMap({ Int($0) }),
      members["error"] != nil, (0...ChainOpener.maximumLayers).contains(depth)
    else { return nil }
    if hex == "null" {
      self.path = path
    } else {
      let digits = Array(hex.utf8)
      guard digits.count.isMultiple(of: 2) else { return nil }
      var bytes: [UInt8] = []
      for at in stride(from: 0, to: digits.count, by: 2) {
        guard let byte = UInt8(String(decoding: digits[at..<at + 2], as: UTF8.self), radix: 16) else {
          return nil
        }
        bytes.append(byte)
      }
      self.path = ByteText.text(bytes)
    }
    self.stamp = stamp
    var chain: [String] = []
    for index in 0..<depth {
      guard let name = members["chain.\(index)"] else { return nil }
      chain.append(name)
    }
    self.chain = chain
    dataFile = members["data_file"].flatMap { $0 == "null" ? nil : $0 }
  }

  /// The files are those that the line was made of.
  package func holds(_ policy: ChainPolicy) -> Bool {
    FleetStamp.holds(stamp, of: path, chain: chain, dataFile: dataFile, policy)
  }
}
