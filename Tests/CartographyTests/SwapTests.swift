// What clusters look like, against what is known: on healthy images nothing is called broken, and when a table has
// the bytes of something else, or a guest's cluster those of a table, that cluster is named and no other.
// `QATLAS_SWAPS=10000` for the whole campaign.
//
// What counts as a planted swap: (1) a table gets the bytes of a table of another kind; (2) a table gets bytes of a
// guest; (3) a guest's cluster gets the bytes of a table of the image. Bytes can tell nothing of these, so that
// none of them is planted: two clusters of a guest exchanged; a table in the place of one of its own kind;
// bytes that do not differ in the part that the table uses; nothing but zeroes or one byte over and over, as an
// empty table is a table; a table of bitmaps that names no cluster; what lies behind the first cluster of the
// header, of a snapshot table, of a bitmap directory and of an encryption header. All else counts, whether or not
// it can be told.

import EngineSupport
import Foundation
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@testable import Cartography

@Suite(.tags(.fast)) struct SwapTests {
  private static let swaps = Int(ProcessInfo.processInfo.environment["QATLAS_SWAPS"] ?? "") ?? 104

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
      case .snapshotTable(let isFirst), .bitmapDirectory(let isFirst), .crypto(let isFirst): return isFirst
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

  /// An image in memory.
  private struct Files {
    var image: any Storage
    var data: (any Storage)?

    func atlas() throws -> Atlas {
      var options = Image.Options()
      options.standsAlone = true
      options.dataFile = data
      let atlas = Atlas(
        try Image.lookedAt(options) { (options) throws(ImageError) in try Image(image, options: options) })
      atlas.scanAll()
      return atlas
    }
  }

  private static func broken(_ files: Files) throws -> [Look] {
    var found: [Look] = []
    try LooksScan(try files.atlas()).run(brokenOnly: true) { found.append($0) }
    return found
  }

  private static func places(_ files: Files) throws -> (places: [Place], alarms: [Look]) {
    let atlas = try files.atlas()
    let geometry = atlas.image.geometry
    let claims = Claims(atlas)
    var places: [Place] = []
    var alarms: [Look] = []
    try LooksScan(atlas).run(brokenOnly: false) { look in
      if look.isBroken { alarms.append(look) }
      guard let claim = claims.claim(look.cluster, look.state) else { return }
      let start = geometry.start(of: look.cluster).value
      let bytes = (try? files.image.bytes(at: start, count: Int(geometry.clusterSize))) ?? []
      places.append(Place(start: start, state: look.state, claim: claim, bytes: bytes))
    }
    return (places, alarms)
  }

  /// What became of the swaps of one class.
  private struct Tally {
    var total = 0
    var right = 0
    var named = 0
    var examples: [String] = []
  }

  @Test("swapped clusters are named, and healthy ones are not")
  func campaign() throws {
    let isLong = Self.swaps >= 1000
    let perImage = isLong ? 40 : 4
    let images = max(26, (Self.swaps + perImage - 1) / perImage)
    let first = Int(ProcessInfo.processInfo.environment["QATLAS_SEED"] ?? "") ?? 0
    var random = SplitMix64(seed: 2024 + UInt64(first))
    var sum = Tally()
    var classes: [String: Tally] = [:]
    var (looked, alarms) = (0, [String]())
    for number in first..<first + images {
      let recipe = SampleImage.ofEveryKind(number)
      let (image, data) = try recipe.makeFiles()
      let (places, found) = try Self.places(Files(image: image, data: data))
      looked += places.count
      for look in found { alarms.append("\(look) in \(recipe)") }
      let tables = places.filter { $0.claim.shape != nil && $0.isTarget }
      let sources = places.filter(\.isSource)
      let contents = places.filter { $0.claim == .content && !$0.isUniform && $0.state != .bitmap }
      for swap in 0..<perImage {
        let plants = swap % 3 == 2 && !contents.isEmpty
        let target = try #require(
          plants ? contents.randomElement(using: &random) : tables.randomElement(using: &random))
        guard let (bytes, shape) = Self.planted(plants || swap % 3 == 0, target, sources, recipe, &random)
        else { continue }
        let overlay = OverlayStorage(base: image)
        try overlay.write(bytes, at: target.start)
        let kind = "\(target.claim.shape?.name ?? "data") <- \(shape?.name ?? "data")"
        var tally = classes[kind] ?? Tally()
        tally.total += 1
        sum.total += 1
        let cluster = target.start >> UInt64(recipe.clusterBits)
        let looks: [Look]
        do { looks = try Self.broken(Files(image: overlay, data: data)) } catch {
          tally.examples.append("\(target.claim) at \(cluster): shut, \(error), in \(recipe)")
          classes[kind] = tally
          continue
        }
        if looks.map(\.cluster.value) == [cluster] {
          tally.right += 1
          sum.right += 1
          if shape == nil ? !looks[0].shape.isStructure : looks[0].shape == shape {
            tally.named += 1
            sum.named += 1
          } else {
            tally.examples.append("\(target.claim) at \(cluster): named \(looks[0].shape) in \(recipe)")
          }
        } else {
          let others = looks.filter { $0.cluster.value != cluster }.map {
            "\($0.state) at \($0.cluster.value) looks \($0.shape)"
          }
          tally.examples.append(
            "\(target.claim) at \(cluster): \(looks.count == others.count ? "missed" : "found"), others \(others.prefix(3)) in \(recipe)"
          )
        }
        classes[kind] = tally
      }
    }
    print(
      "swaps: \(sum.right) of \(sum.total) right, \(sum.named) named; \(alarms.count) false alarms of \(looked) clusters"
    )
    let listed = classes.filter { $0.value.named < $0.value.total }.sorted {
      ($1.value.right - $1.value.total, $0.key) < ($0.value.right - $0.value.total, $1.key)
    }.reversed().map { kind, tally in
      let examples = tally.examples.prefix(isLong ? 12 : 4).map { "\n      \($0)" }.joined()
      return "  \(kind): \(tally.right) right, \(tally.named) named of \(tally.total)\(examples)"
    }.joined(separator: "\n")
    let list = "\(listed)\n\(alarms.prefix(20).joined(separator: "\n"))"
    #expect(sum.right * 100 >= sum.total * 99, "\(sum.right) of \(sum.total)\n\(list)")
    #expect(alarms.count * 100 < looked, "\(alarms.count) of \(looked)\n\(list)")
    #expect(sum.named * 100 >= sum.total * 97, "\(sum.named) of \(sum.total)")
    if isLong { print(list) }
  }

  /// Bytes for a place, and the kind of table that they are; nil if there is nothing that can be told from what is
  /// there.
  private static func planted(
    _ isTable: Bool, _ target: Place, _ sources: [Place], _ recipe: SampleImage, _ random: inout SplitMix64
  ) -> (bytes: [UInt8], shape: ClusterShape?)? {
    var result: (bytes: [UInt8], shape: ClusterShape?)
    if isTable {
      let others = sources.filter { $0.claim.shape != target.claim.shape }
      guard let source = others.randomElement(using: &random) else { return nil }
      result = (source.bytes, source.claim.shape)
    } else {
      let kinds: [GuestSample] = [
        .text, .random, .zstd, .gzip, .fileSystem, .littleEndian, .bigEndian, .wideText,
      ]
      let kind = kinds.randomElement(using: &random) ?? .text
      result = (kind.bytes(1 << recipe.clusterBits, &random), nil)
      // A part of a file system may be nothing but zeroes, which is a table.
      if isUniform(result.bytes) { result.bytes = GuestSample.text.bytes(result.bytes.count, &random) }
    }
    let used = result.bytes.prefix(target.length)
    let isSame = used.withUnsafeBytes { new in
      target.bytes.withUnsafeBytes { old in
        guard let new = new.baseAddress, let old = old.baseAddress else { return true }
        return memcmp(new, old, used.count) == 0
      }
    }
    guard !isUniform(Array(used)), !isSame else { return nil }
    return result
  }
}
