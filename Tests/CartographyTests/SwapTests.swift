// What clusters look like, against what is known: on healthy images nothing is called broken, and when a table has
// the bytes of something else, or a guest's cluster those of a table, that cluster is named and no other.
// `QATLAS_SWAPS=10000` for the whole campaign.

import EngineSupport
import Foundation
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@testable import Cartography

@Suite(.tags(.fast)) struct SwapTests {
  private static let swaps = Int(ProcessInfo.processInfo.environment["QATLAS_SWAPS"] ?? "") ?? 250

  /// A cluster of an image with what is said of it.
  private struct Place {
    var start: UInt64
    var state: HostState
    var claim: Claim
    var bytes: [UInt8]

    var isUniform: Bool { SwapTests.isUniform(bytes) }
    /// Bytes that the claim is about; what follows a table in its last cluster may be anything.
    var length: Int {
      switch claim {
      case .l1Table(_, let entries), .bitmapTable(let entries): min(bytes.count, entries * 8)
      default: bytes.count
      }
    }
    /// The bytes tell what they are.
    var isSource: Bool {
      guard let shape = claim.shape, !isUniform else { return false }
      switch claim {
      case .snapshotTable(let isFirst), .bitmapDirectory(let isFirst): return isFirst
      case .bitmapTable:
        return stride(from: 0, to: bytes.count, by: 8).contains { BigEndian.u64(bytes, $0) > 1 }
      default: return shape != .header
      }
    }
    /// The claim says enough to be broken.
    var isTarget: Bool {
      switch claim {
      case .snapshotTable(let isFirst), .bitmapDirectory(let isFirst): return isFirst
      case .header, .crypto: return false
      case .bitmapTable, .l1Table: return !isUniform
      default: return true
      }
    }
  }

  private static func isUniform(_ bytes: [UInt8]) -> Bool {
    bytes.withUnsafeBytes { $0.isEmpty || $0.firstIndex(otherThan: $0[0]) == nil }
  }

  private static func broken(_ storage: any Storage) throws -> [Look] {
    var options = Image.Options()
    options.standsAlone = true
    let atlas = Atlas(
      try Image.lookedAt(options) { (options) throws(ImageError) in try Image(storage, options: options) })
    atlas.scanAll()
    var found: [Look] = []
    try LooksScan(atlas).run(brokenOnly: true) { found.append($0) }
    return found
  }

  private static func places(_ storage: any Storage) throws -> (places: [Place], alarms: [Look]) {
    let image = try Image(storage)
    let atlas = Atlas(image)
    atlas.scanAll()
    let claims = Claims(atlas)
    var places: [Place] = []
    var alarms: [Look] = []
    try LooksScan(atlas).run(brokenOnly: false) { look in
      if look.isBroken { alarms.append(look) }
      guard let claim = claims.claim(look.cluster, look.state) else { return }
      let start = image.geometry.start(of: look.cluster).value
      let bytes = (try? storage.bytes(at: start, count: Int(image.geometry.clusterSize))) ?? []
      places.append(Place(start: start, state: look.state, claim: claim, bytes: bytes))
    }
    return (places, alarms)
  }

  @Test("swapped clusters are named, and healthy ones are not")
  func campaign() throws {
    let perImage = Self.swaps < 2000 ? 25 : 100
    let images = max(13, (Self.swaps + perImage - 1) / perImage)
    var random = SplitMix64(seed: 2024)
    var (total, right, named, looked, alarms) = (0, 0, 0, 0, 0)
    var wrong: [String: Int] = [:]
    for number in 0..<images {
      let recipe = SampleImage.number(number)
      let storage = try recipe.make()
      let (places, found) = try Self.places(storage)
      looked += places.count
      alarms += found.count
      for look in found { wrong["alarm: \(look) in \(recipe)", default: 0] += 1 }
      let tables = places.filter { $0.claim.shape != nil && $0.isTarget }
      let sources = places.filter(\.isSource)
      let data = places.filter { $0.claim == .content && !$0.isUniform && $0.state != .bitmap }
      for swap in 0..<min(perImage, Self.swaps - total) {
        let plants = swap % 3 == 2 && !data.isEmpty
        let target = try #require(
          plants ? data.randomElement(using: &random) : tables.randomElement(using: &random))
        var bytes: [UInt8]
        var shape: ClusterShape?
        if plants || swap % 3 == 0 {
          let others = sources.filter { $0.claim.shape != target.claim.shape && $0.bytes != target.bytes }
          guard let source = others.randomElement(using: &random) else { continue }
          bytes = source.bytes
          shape = source.claim.shape
        } else {
          let kinds: [GuestSample] = [
            .text, .random, .zstd, .gzip, .fileSystem, .littleEndian, .bigEndian, .wideText,
          ]
          let kind = kinds.randomElement(using: &random) ?? .text
          bytes = kind.bytes(1 << recipe.clusterBits, &random)
          // A part of a file system may be nothing but zeroes, which is a table.
          if Self.isUniform(bytes) { bytes = GuestSample.text.bytes(bytes.count, &random) }
        }
        // An empty table is a table.
        if Self.isUniform(Array(bytes.prefix(target.length))) { continue }
        let overlay = OverlayStorage(base: storage)
        try overlay.write(bytes, at: target.start)
        total += 1
        let looks: [Look]
        do { looks = try Self.broken(overlay) } catch {
          wrong["shut: \(target.claim) <- \(shape?.name ?? "data"): \(error)", default: 0] += 1
          continue
        }
        let cluster = target.start >> UInt64(recipe.clusterBits)
        if looks.map(\.cluster.value) == [cluster] {
          right += 1
          if shape == nil || looks[0].shape == shape {
            named += 1
          } else {
            wrong[
              "named \(looks[0].shape): \(target.claim) <- \(shape?.name ?? "") in \(recipe)", default: 0] +=
              1
          }
        } else {
          let others = looks.filter { $0.cluster.value != cluster }.map { "\($0.state)" }
          let text =
            "\(target.claim) at \(cluster) <- \(shape?.name ?? "data"): missed \(looks.count == others.count), others \(others.prefix(3))"
          wrong["\(text) in \(recipe)", default: 0] += 1
        }
      }
    }
    print("swaps: \(right) of \(total) right, \(named) named; \(alarms) false alarms of \(looked) clusters")
    let listed = wrong.sorted { $0.value > $1.value }.prefix(40).map { "\($0.value) \($0.key)" }.joined(
      separator: "\n")
    #expect(right * 100 >= total * 99, "\(right) of \(total)\n\(listed)")
    #expect(alarms * 100 < looked, "\(alarms) of \(looked)\n\(listed)")
    #expect(named * 100 >= total * 90, "\(named) of \(total)")
    if ProcessInfo.processInfo.environment["QATLAS_SWAPS"] != nil { print(listed) }
  }
}
