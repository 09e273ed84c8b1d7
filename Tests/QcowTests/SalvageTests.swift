// Salvage of images in which one thing is destroyed: what the guest reads above the damage is what it read before,
// wherever the tables that say so survive. `QATLAS_SALVAGE=300` for the whole campaign.

import EngineSupport
import Foundation
import Storage
import TestSupport
import Testing

@testable import Qcow
@testable import QcowFormat

@Suite(.tags(.fast)) struct SalvageTests {
  private static let images = Int(ProcessInfo.processInfo.environment["QATLAS_SALVAGE"] ?? "") ?? 12

  /// What is destroyed.
  enum Damage: String, CaseIterable {
    case header, l1, refcountTable, l2Tables, snapshotTable
  }

  /// The guest's clusters that hold data: where they are and what they hold.
  private static func content(_ image: Image) throws -> [(guest: UInt64, table: Int, bytes: [UInt8])] {
    var result: [(guest: UInt64, table: Int, bytes: [UInt8])] = []
    let geometry = image.geometry
    var at: UInt64 = 0
    while at < geometry.virtualSize {
      let run = try image.mapping(at: GuestOffset(at), limit: ByteCount(geometry.virtualSize - at))
      if !run.state.isUnallocated && !run.state.readsAsZero {
        for start in stride(
          from: geometry.roundDown(at), to: at + run.length.value, by: Int(geometry.clusterSize))
        {
          let bytes = try read(image, start)
          if bytes.contains(where: { $0 != 0 }), result.last?.guest != start {
            result.append((start, geometry.l1Index(of: GuestOffset(start)), bytes))
          }
        }
      }
      at += run.length.value
    }
    return result
  }

  private static func read(_ image: Image, _ guest: UInt64) throws -> [UInt8] {
    let count = min(image.geometry.clusterSize, image.geometry.virtualSize - guest)
    var bytes = [UInt8](repeating: 0, count: Int(count))
    try bytes.withUnsafeMutableBytes { try image.read(at: GuestOffset(guest), into: $0) }
    return bytes
  }

  /// Destroys a part of the image and says which L1 entries lost their table.
  private static func destroy(
    _ damage: Damage, _ storage: OverlayStorage, _ image: Image, _ random: inout SplitMix64
  ) throws -> Set<Int> {
    let size = Int(image.geometry.clusterSize)
    let header = image.header
    func garbage() -> [UInt8] {
      switch random.below(3) {
      case 0: return [UInt8](repeating: 0, count: size)
      case 1: return GuestSample.text.bytes(size, &random)
      default: return GuestSample.random.bytes(size, &random)
      }
    }
    switch damage {
    case .header: try storage.write(garbage(), at: 0)
    case .l1:
      for at in stride(from: 0, to: Int(header.l1Size) * 8, by: size) {
        try storage.write(garbage(), at: header.l1TableOffset + UInt64(at))
      }
    case .refcountTable: try storage.write(garbage(), at: header.refcountTableOffset)
    case .snapshotTable:
      if header.snapshotCount > 0 { try storage.write(garbage(), at: header.snapshotsOffset) }
    case .l2Tables:
      let tables = (0..<image.l1Count).filter { image.l1Entry($0).table != nil }.shuffled(using: &random)
      let lost = tables.prefix(max(1, tables.count * 3 / 10))
      for index in lost {
        guard let place = image.l1Entry(index).table?.value else { continue }
        try storage.write(garbage(), at: place)
      }
      return Set(lost)
    }
    return []
  }

  @Test("what the guest had is read again wherever its tables survive")
  func campaign() throws {
    var random = SplitMix64(seed: 99)
    var all: [Damage: (right: Int, all: Int, images: Int)] = [:]
    var misses: [String] = []
    for number in 0..<Self.images {
      let damage = Damage.allCases[number % Damage.allCases.count]
      var recipe = SampleImage.number(number / Damage.allCases.count + number)
      // A guest that fills its disk; the order of tables says nothing of one that writes here and there.
      recipe.isOrdered = true
      recipe.tables = 4
      let storage = try recipe.make()
      let image = try Image(storage)
      let content = try Self.content(image)
      let broken = OverlayStorage(base: storage)
      let lost = try Self.destroy(damage, broken, image, &random)
      let expected = content.filter { !lost.contains($0.table) }
      var right = 0
      do {
        let salvage = Salvage(OverlayStorage(base: broken, memoryLimit: Salvage.memoryLimit))
        try salvage.run()
        let again = try salvage.open()
        for piece in expected where piece.guest + UInt64(piece.bytes.count) <= again.geometry.virtualSize {
          if let bytes = try? Self.read(again, piece.guest), bytes == piece.bytes { right += 1 }
        }
        if right * 100 < expected.count * 99 {
          misses.append(
            "\(damage) of \(recipe): \(right) of \(expected.count); bits \(salvage.report.header.clusterBits), l1 \(salvage.report.l1Source), tables \(salvage.report.tables), \(salvage.report.sizes.first.map { "\($0)" } ?? "")"
          )
        }
      } catch { misses.append("\(damage) of \(recipe): \(error)") }
      let sum = all[damage] ?? (0, 0, 0)
      all[damage] = (sum.right + right, sum.all + expected.count, sum.images + 1)
    }
    for damage in Damage.allCases {
      guard let sum = all[damage] else { continue }
      print("salvage: \(damage.rawValue): \(sum.right) of \(sum.all) clusters of \(sum.images) images")
    }
    let right = all.values.reduce(0) { $0 + $1.right }
    let total = all.values.reduce(0) { $0 + $1.all }
    #expect(right * 100 >= total * 99, "\(right) of \(total)\n\(misses.joined(separator: "\n"))")
    if !misses.isEmpty { print(misses.prefix(30).joined(separator: "\n")) }
  }

  /// A table that leads to more places behind the end than in front of it is a table all the same.
  @Test("a file that was cut short keeps what is still in it")
  func cutShort() throws {
    var (kept, all) = (0, 0)
    for number in 0..<40 {
      var recipe = SampleImage.number(number)
      recipe.tables = 4
      let storage = try recipe.make()
      let content = try Self.content(try Image(storage))
      let broken = OverlayStorage(base: storage)
      let length = storage.length * [9, 6, 4, 3][number % 4] / 10 & ~511
      try broken.truncate(to: length, tag: WriteTag(.file, .repair))
      let salvage = Salvage(OverlayStorage(base: broken, memoryLimit: Salvage.memoryLimit))
      // What an image that is opened as it is still reads must be there; without its tables nothing opens.
      var options = Image.Options()
      options.standsAlone = true
      guard
        let plain = try? Image.lookedAt(
          options, { (options) throws(ImageError) in try Image(broken, options: options) })
      else { continue }
      try salvage.run()
      let again = try salvage.open()
      for piece in content where (try? Self.read(plain, piece.guest)) == piece.bytes {
        all += 1
        if (try? Self.read(again, piece.guest)) == piece.bytes { kept += 1 }
      }
    }
    #expect(all > 1000)
    #expect(kept == all, "\(kept) of \(all)")
  }

  /// Where the guest wrote here and there, most places cannot be known, and no wrong one may pass for known.
  @Test("tables of a disk that was not written in order")
  func scattered() throws {
    var random = SplitMix64(seed: 5)
    var counts: [String: (right: Int, wrong: Int)] = [:]
    for number in 0..<max(4, Self.images / 5) {
      var recipe = SampleImage.number(number * 3 % 91)
      recipe.seed = UInt64(number) + 500
      recipe.tables = 6
      recipe.snapshots = number % 4 == 0 && recipe.refcountBits > 2 ? 1 : 0
      let storage = try recipe.make()
      let image = try Image(storage)
      let broken = OverlayStorage(base: storage)
      _ = try Self.destroy(.l1, broken, image, &random)
      let salvage = Salvage(OverlayStorage(base: broken, memoryLimit: Salvage.memoryLimit))
      try salvage.run()
      for table in salvage.report.placed {
        let isRight = image.l1Entry(table.l1Index).table == table.table
        var count = counts[table.evidence.confidence] ?? (0, 0)
        if isRight { count.right += 1 } else { count.wrong += 1 }
        counts[table.evidence.confidence] = count
      }
    }
    print("salvage of scattered disks, places right and wrong:", counts)
    #expect(counts["certain"]?.wrong ?? 0 == 0, "\(counts)")
    let likely = counts["likely"] ?? (0, 0)
    #expect(likely.wrong * 10 <= likely.right, "\(counts)")
    #expect((counts["not known"]?.wrong ?? 0) > 0, "\(counts)")
  }

  /// A disk with a partition table and a file system, whose tables were made in any order.
  @Test func guestStructuresPlaceTables() throws {
    let storage = MemoryStorage()
    var creation = Image.CreateOptions(size: 64 << 20)
    creation.clusterSize = 4096
    try Image.create(on: storage, creation)
    var options = Image.Options()
    options.writable = true
    options.cache = .writeback
    let image = try Image(storage, options: options)
    // Copies of the superblock, 8 MiB apart, the last first.
    for group in [7, 3, 5, 1, 6, 2, 4] as [UInt64] {
      var block = [UInt8](repeating: 0, count: 4096)
      block[0] = 1
      block[24] = 2
      block[32] = 0
      block[33] = 8
      block[56] = 0x53
      block[57] = 0xef
      block[90] = UInt8(group)
      try block.withUnsafeBytes { try image.write($0, at: GuestOffset(group << 23)) }
    }
    try image.close()
    let broken = OverlayStorage(base: storage)
    let header = image.header
    try broken.write([UInt8](repeating: 0xff, count: 4096), at: header.l1TableOffset)
    let salvage = Salvage(OverlayStorage(base: broken))
    try salvage.run()
    #expect(salvage.report.tables == [.structure: 7])
    #expect(salvage.report.placed.allSatisfy { $0.l1Index % 4 == 0 && $0.evidence == .structure })
    let again = try salvage.open()
    #expect(try Self.read(again, 5 << 23)[90] == 5)
  }

  /// Nothing of the file changes, and a sound image is left as it is.
  @Test func soundImage() throws {
    var recipe = SampleImage(clusterBits: 12, seed: 4)
    recipe.snapshots = 1
    let storage = try recipe.make()
    let overlay = OverlayStorage(base: storage)
    let salvage = Salvage(overlay)
    try salvage.run()
    #expect(salvage.report.isWhole, "\(salvage.report)")
    #expect(overlay.applied.isEmpty && !overlay.hasUnsavedChanges)
  }

  @Test("no file of any bytes makes it stop", arguments: 0..<24)
  func hostile(seed: Int) throws {
    var random = SplitMix64(seed: UInt64(seed))
    var bytes = GuestSample.allCases[seed % GuestSample.allCases.count].bytes(1 << 18, &random)
    for index in 0..<1 << 12 where seed % 2 == 0 {
      // Entries that lead anywhere.
      BigEndian.put(random.below(4) << 62 | random.below(8) << 16, width: 8, into: &bytes, at: index * 64)
    }
    if seed % 3 == 0 {
      let sound = try SampleImage.number(seed).make()
      bytes = try sound.bytes(at: 0, count: Int(min(sound.length, 1 << 18)))
      for _ in 0..<200 { bytes[Int(random.below(UInt64(bytes.count)))] = UInt8(random.below(256)) }
    }
    let salvage = Salvage(OverlayStorage(base: MemoryStorage(bytes: bytes)))
    guard (try? salvage.run()) != nil, let image = try? salvage.open() else { return }
    let first = min(image.geometry.virtualSize, 65536)
    var buffer = [UInt8](repeating: 0, count: Int(first))
    _ = try? buffer.withUnsafeMutableBytes { try image.read(at: GuestOffset(0), into: $0) }
  }
}
