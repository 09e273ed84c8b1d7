// Images for the tests: made in memory by the engine, changed by random operations, and counted
// the slow way, entry by entry and cluster by cluster, from nothing but the engine's answers.

import EngineSupport
import Qcow
import QcowFormat
import Storage
import TestSupport

@testable import Cartography

/// A shape of an image.
struct Recipe: CustomStringConvertible, Sendable {
  var size: UInt64
  var clusterSize: UInt64
  var extended = false
  var refcountBits = 16
  var version: UInt32 = 3
  var preallocation = Image.CreateOptions.Preallocation.off

  var description: String {
    "\(size)/\(clusterSize)\(extended ? " ext" : "") rc\(refcountBits) v\(version) \(preallocation.rawValue)"
  }

  static let all = [
    Recipe(size: 1 << 20, clusterSize: 512),
    Recipe(size: 3 << 20 | 512, clusterSize: 512, refcountBits: 1),
    Recipe(size: 64 << 20, clusterSize: 4096, refcountBits: 64),
    Recipe(size: 64 << 20, clusterSize: 65536),
    Recipe(size: 64 << 20, clusterSize: 65536, extended: true),
    Recipe(size: 20 << 20 | 1024, clusterSize: 16384, extended: true, refcountBits: 8),
    Recipe(size: 1 << 30, clusterSize: 2 << 20, refcountBits: 2),
    Recipe(size: 1 << 30, clusterSize: 2 << 20, extended: true),
    Recipe(size: 8 << 20, clusterSize: 1024, version: 2),
    Recipe(size: 4 << 20, clusterSize: 4096, preallocation: .metadata),
    Recipe(size: 16 << 20, clusterSize: 16384, extended: true, preallocation: .metadata),
    Recipe(size: 0, clusterSize: 65536),
    Recipe(size: 1 << 40, clusterSize: 65536),
  ]
}

/// An image in memory under an overlay.
final class Workbench {
  let overlay: OverlayStorage
  let image: Image

  init(_ recipe: Recipe) throws {
    let base = MemoryStorage()
    var options = Image.CreateOptions(size: recipe.size)
    options.clusterSize = recipe.clusterSize
    options.extendedL2 = recipe.extended
    options.refcountBits = recipe.refcountBits
    options.version = recipe.version
    options.preallocation = recipe.preallocation
    try Image.create(on: base, options)
    overlay = OverlayStorage(base: base)
    image = try Image(overlay, options: Self.options)
  }

  init(storage: any Storage) throws {
    overlay = OverlayStorage(base: storage)
    image = try Image(overlay, options: Self.options)
  }

  static var options: Image.Options {
    var options = Image.Options()
    options.writable = true
    options.cache = .writeback
    return options
  }

  /// One random request; nil if it changed nothing.
  func randomOperation(_ random: inout SplitMix64) throws -> StorageOperation? {
    let size = image.geometry.virtualSize
    guard size > 0 else { return nil }
    overlay.begin("random")
    let (cluster, part) = (image.geometry.clusterSize, image.geometry.subclusterSize)
    var mix = RequestMix(
      units: [512, part, part], longest: [6 * cluster],
      kinds: [.write, .write, .write, .zero, .zeroUnmap, .discard, .discard])
    mix.bytes = 0...255
    // Three parts of the disk, so that requests meet.
    let window = min(size, 40 * cluster)
    mix.parts = (0..<3).map { $0 * ((size - window) / 3) }.map { $0..<$0 + window }
    try image.perform(random.request(mix, on: size))
    try image.flush()
    return overlay.commit()
  }
}

extension Atlas {
  /// Runs the scan to its end.
  func finish() {
    var steps = 0
    while !step(budgetNanoseconds: 10_000_000), steps < 10_000 { steps += 1 }
  }
}

/// Both maps, counted the slow way.
struct BruteForce {
  var guest: [UInt64: [GuestState]] = [:]
  var host: [HostState] = []
  var guestCounts = StateCounts<GuestState>()
  var hostCounts = StateCounts<HostState>()

  /// For images without snapshots, bitmaps and the like.
  init(_ image: Image) throws {
    let geometry = image.geometry
    let length = image.storage.length
    let fileClusters = geometry.clustersCovering(length)
    var owners: [UInt64: [HostState]] = [:]
    func own(_ offset: UInt64, _ bytes: UInt64, _ state: HostState) {
      guard bytes > 0 else { return }
      for cluster in offset >> UInt64(geometry.clusterBits)...(offset + bytes - 1)
        >> UInt64(geometry.clusterBits)
      {
        owners[cluster, default: []].append(state)
      }
    }
    own(0, geometry.clusterSize, .header)
    own(image.header.l1TableOffset, UInt64(image.header.l1Size) * 8, .l1Table)
    own(
      image.header.refcountTableOffset, UInt64(image.header.refcountTableClusters) * geometry.clusterSize,
      .refcountTable)
    for index in 0..<image.refcountTableCount {
      if let block = image.refcountTableEntry(index).block {
        own(block.value, geometry.clusterSize, .refcountBlock)
      }
    }
    var mapped: UInt64 = 0
    for l1 in 0..<image.l1Count {
      guard let table = image.l1Entry(l1).table, let bytes = try image.l2TableBytes(l1Index: l1) else {
        continue
      }
      own(table.value, geometry.clusterSize, .l2Table)
      for index in 0..<geometry.l2EntriesPerTable {
        let at = index * geometry.l2EntrySize
        let descriptor = BigEndian.u64(bytes, at)
        let bitmap = geometry.hasExtendedL2 ? BigEndian.u64(bytes, at + 8) : 0
        if descriptor == 0 && bitmap == 0 { continue }
        let entry = L2Entry(descriptor: descriptor, bitmap: SubclusterBitmap(raw: bitmap))
        let offset = geometry.guestOffset(l1Index: l1, l2Index: index)
        var host: UInt64?
        switch geometry.mapping(of: entry, version: image.header.version) {
        case .data(let h), .zeroMapped(let h): host = h.value
        case .subclusters(let h, _): host = h?.value
        default: host = nil
        }
        if let host { own(host, geometry.clusterSize, .data) }
        guard offset.value < geometry.virtualSize else { continue }
        let raw = (0..<geometry.subclustersPerCluster).map {
          geometry.state(of: entry, SubclusterIndex($0), version: image.header.version)
        }
        let states: [GuestState] = raw.map { state in
          if let host, host >= length { return .bad }
          switch state {
          case .unallocated: return .none
          case .unallocatedMapped: return raw.contains(.data) ? .none : .preallocated
          case .zero: return .zero
          case .zeroMapped: return .zeroKept
          case .data: return entry.isCopied ? .data : .shared
          case .compressed: return .compressed
          case .invalid: return .bad
          }
        }
        mapped += UInt64(states.count)
        for state in states { guestCounts[state] += 1 }
        guest[geometry.cluster(of: offset).value] = states
      }
    }
    guestCounts[.none] += geometry.clusterCount * UInt64(geometry.subclustersPerCluster) - mapped
    for cluster in 0..<fileClusters {
      let own = owners[cluster] ?? []
      let refcount = try image.refcount(of: HostCluster(cluster))
      var state: HostState
      if own.isEmpty {
        state = refcount == 0 ? .free : .leaked
      } else if own.count > 1 && Set(own).count > 1 || refcount < own.count {
        state = .wrong
      } else if refcount > own.count {
        state = .leaked
      } else {
        state = own[0]
        let start = cluster * geometry.clusterSize
        if state == .data && Self.isHole(image.storage, start, min(length, start + geometry.clusterSize)) {
          state = .hole
        }
      }
      host.append(state)
      hostCounts[state] += 1
    }
  }

  private static func isHole(_ storage: any Storage, _ start: UInt64, _ end: UInt64) -> Bool {
    var at = start
    while at < end {
      let extent = storage.extent(at: at)
      if !extent.isHole { return false }
      at = extent.end
    }
    return true
  }
}
