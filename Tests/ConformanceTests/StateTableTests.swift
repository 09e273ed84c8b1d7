// The table of the README: what every operation makes of every state of a cluster, under every policy,
// over a backing file and without one. It is made by doing it, and printed.
//
// QATLAS_RECORD=1 writes it into the README again.

import EngineSupport
import Foundation
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

/// What a cluster is before the operation.
private enum Before: String, CaseIterable {
  case unallocated
  case mapped = "mapped, unallocated"
  case data
  case zeroPlain = "zero"
  case zeroAllocated = "zero, with cluster"
  case partly = "partly data, partly zero"

  var needsExtended: Bool { self == .mapped || self == .partly }
}

private enum Operation: String, CaseIterable {
  case write, zero
  case zeroUnmap = "zero, may unmap"
  case discard
}

@Suite("The table of states, operations and policies", .tags(.genuine))
struct StateTableTests {
  private static let cluster: UInt64 = 65536
  /// The guest cluster that is looked at; the one before it is free to be taken.
  private static let guest = cluster

  @Test("every combination has a row, and the README shows it")
  func table() throws {
    var rows: [String] = []
    var combinations = 0
    for extended in [false, true] {
      for before in Before.allCases where extended || !before.needsExtended {
        for operation in Operation.allCases {
          var results: [[String]] = []
          for backing in [false, true] {
            results.append(
              try MappingPolicy.allCases.map { policy in
                combinations += 1
                return try outcome(before, operation, policy, extended: extended, backing: backing)
              })
          }
          let kinds = results[0] == results[1] ? ["any"] : ["none", "there"]
          for (kind, result) in zip(kinds, results) {
            let cells =
              [extended ? "extended" : "standard", before.rawValue, operation.rawValue, kind] + result
            rows.append("| " + cells.joined(separator: " | ") + " |")
          }
        }
      }
    }
    let header =
      "| L2 entries | cluster before | operation | backing file | default | keep-mapping | pinned |"
    let table = ([header, "|---|---|---|---|---|---|---|"] + rows).joined(separator: "\n") + "\n"
    print(table + "states: \(combinations) combinations in \(rows.count) rows")
    #expect(combinations == (4 + 6) * 4 * 2 * 3)
    try checkReadme(table)
  }

  /// Prepares the cluster, does the operation, and says what became of cluster and mapping.
  private func outcome(
    _ before: Before, _ operation: Operation, _ policy: MappingPolicy, extended: Bool, backing: Bool
  ) throws -> String {
    var create = Image.CreateOptions(size: 4 * Self.cluster)
    create.extendedL2 = extended
    create.pinned = true
    create.contiguous = before == .mapped
    create.preallocation = before == .mapped ? .metadata : .off
    if backing {
      create.backingFile = "base"
      create.backingFormat = "raw"
    }
    let storage = MemoryStorage()
    try Image.create(on: storage, create)
    var options = Image.Options()
    options.writable = true
    options.policies.mapping = .qemu
    if backing {
      options.backing = RawLayer(MemoryStorage(bytes: [UInt8](repeating: 7, count: Int(create.size))))
    }
    let preparing = try Image(storage, options: options)
    for request in requests(before) { try preparing.perform(request) }
    try preparing.close()
    options.policies.mapping = policy
    let image = try Image(storage, options: options)
    let shift = try #require(image.pin).shift
    let old = try image.l2Entry(at: GuestOffset(Self.guest))
    let oldBytes = try host(old, storage)
    try image.carryOut(request(operation))
    let new = try image.l2Entry(at: GuestOffset(Self.guest))
    let expected = [UInt8](repeating: operation == .write ? 0x77 : 0, count: Int(Self.cluster))
    let found = try image.bytes(at: Self.guest, count: Int(Self.cluster))
    let isDiscardOverNothing = operation == .discard && before == .mapped && !backing
    #expect(found == expected || isDiscardOverNothing, "\(before) \(operation) \(policy)")
    try image.close()
    if new == old, operation != .write, try host(new, storage) == oldBytes { return "as before" }
    var words = [try state(image.geometry, new)]
    if new.offsetBits == 0 {
      if old.offsetBits != 0 { words.append("cluster freed") }
    } else if new.offsetBits == old.offsetBits {
      let punched = try oldBytes != host(new, storage) && operation != .write
      words.append(punched ? "same cluster, punched" : "same cluster")
    } else {
      words.append(new.offsetBits == Self.guest + shift ? "its own place" : "first free cluster")
    }
    return words.joined(separator: ", ")
  }

  private func host(_ entry: L2Entry, _ storage: MemoryStorage) throws -> [UInt8] {
    guard entry.offsetBits != 0, entry.offsetBits < storage.length else { return [] }
    return try storage.bytes(at: entry.offsetBits, count: Int(Self.cluster))
  }

  private func state(_ geometry: Geometry, _ entry: L2Entry) throws -> String {
    let states = Set(
      (0..<geometry.subclustersPerCluster).map { geometry.state(of: entry, SubclusterIndex($0)) })
    guard let state = states.first, states.count == 1 else { return "mixed" }
    switch state {
    case .data: return "data"
    case .zero, .zeroMapped: return "zero"
    case .unallocated: return "unallocated"
    case .unallocatedMapped: return "mapped, unallocated"
    case .compressed, .invalid: throw TestFailure("\(state)")
    }
  }

  private func requests(_ before: Before) -> [GuestRequest] {
    let part = Self.cluster / 4
    let data = GuestRequest.write(offset: Self.guest, count: Self.cluster, byte: 0x11)
    switch before {
    case .unallocated, .mapped: return []
    case .data: return [data]
    case .zeroPlain: return [.zero(offset: Self.guest, count: Self.cluster, mayUnmap: true)]
    case .zeroAllocated: return [data, .zero(offset: Self.guest, count: Self.cluster, mayUnmap: false)]
    case .partly:
      return [
        .write(offset: Self.guest, count: part, byte: 0x12),
        .zero(offset: Self.guest + 2 * part, count: part, mayUnmap: false),
      ]
    }
  }

  private func request(_ operation: Operation) -> GuestRequest {
    switch operation {
    case .write: .write(offset: Self.guest, count: Self.cluster, byte: 0x77)
    case .zero: .zero(offset: Self.guest, count: Self.cluster, mayUnmap: false)
    case .zeroUnmap: .zero(offset: Self.guest, count: Self.cluster, mayUnmap: true)
    case .discard: .discard(offset: Self.guest, count: Self.cluster)
    }
  }

  private func checkReadme(_ table: String, file: String = #filePath) throws {
    let root = URL(fileURLWithPath: file).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let url = root.appendingPathComponent("README.md")
    let text = try String(contentsOf: url, encoding: .utf8)
    let parts = text.components(separatedBy: "<!-- states -->\n")
    guard parts.count == 3 else {
      throw TestFailure("README.md has no part between two lines <!-- states -->")
    }
    guard parts[1] != table else { return }
    if ProcessInfo.processInfo.environment["QATLAS_RECORD"] == "1" {
      try (parts[0] + "<!-- states -->\n" + table + "<!-- states -->\n" + parts[2])
        .write(to: url, atomically: true, encoding: .utf8)
      throw TestFailure("recorded README.md; run again without QATLAS_RECORD")
    }
    throw TestFailure("the table in README.md differs from what the engine does; see QATLAS_RECORD")
  }
}
