// A bounded cache of metadata tables with write-back: L2 slices or refcount blocks. Two caches know
// of each other which must reach the disk first; that order is what makes a crash leak at most.

import Glibc
import QcowFormat
import Storage

/// Keeps tables of one kind and size in memory and writes the changed ones back in time.
///
/// A pointer from ``table(at:)`` is valid until the next call for a table that is not cached.
final class TableCache {
  @safe private struct Slot {
    var offset: HostOffset
    var memory: UnsafeMutableRawPointer
    var isDirty = false
    /// For the clock: used since the hand came by.
    var wasUsed = true
  }

  /// No table lies there.
  private static let nowhere = HostOffset(.max)

  /// Bytes of a table.
  let tableSize: Int
  private let capacity: Int
  private let structure: Structure
  private let tables: TableWriter
  private var slots: [Slot] = []
  private var places: [HostOffset: Int] = [:]
  /// How many tables are cached in clusters whose numbers end alike: most clusters that are freed hold none.
  private var tablesNear = [UInt32](repeating: 0, count: TableCache.nearby)
  private static let nearby = 4096
  private var hand = 0
  /// The slot asked for last; most requests ask for it again.
  private var latest = 0
  /// Must be on disk before any table of this cache is written.
  private var dependency: TableCache? {
    get { wanted.flatMap { $0.isReplaced ? nil : $0 } }
    set { wanted = newValue }
  }
  /// Never a circle, since whoever depends on a cache that depends on another flushes that one first. Weak references
  /// would make every use of the caches slower.
  private var wanted: TableCache?
  /// Another cache has taken its place; what it held is lost.
  var isReplaced = false
  /// Guest data written before must be on disk first.
  private var mustFlushFirst = false
  /// Some table may have changed in memory only.
  private var mayDiffer = false
  /// Guest data lies in this file and not beside the tables.
  var dataFile: (any Storage)?

  /// Tables of `structure`, which has tables of one cluster or less, through the door `tables`.
  init(_ tables: TableWriter, structure: Structure, tableSize: Int, capacity: Int) {
    self.tables = tables
    self.structure = structure
    self.tableSize = tableSize
    self.capacity = max(2, capacity)
  }

  deinit {
    for slot in slots { unsafe free(slot.memory) }
  }

  /// The table at a host offset, read if it is not in memory. Throws what the host says, also of another
  /// table that has to be written back to make room.
  func table(at offset: HostOffset) throws(ImageError) -> UnsafeMutableRawPointer {
    if latest < slots.count, slots[latest].offset == offset { return unsafe slots[latest].memory }
    if let place = places[offset] {
      latest = place
      slots[place].wasUsed = true
      return unsafe slots[place].memory
    }
    let place = try takeSlot(for: offset)
    let memory = unsafe slots[place].memory
    if structure == .l2Table { tables.reach(.l2Load) }
    do throws(StorageError) {
      try unsafe tables.storage.read(
        at: offset.value, into: UnsafeMutableRawBufferPointer(start: memory, count: tableSize))
    } catch {
      forget(place)
      throw ImageError(error)
    }
    return unsafe memory
  }

  /// Memory for a table that is about to be filled anew; zeroed, not read. Throws as ``table(at:)``.
  func emptyTable(at offset: HostOffset) throws(ImageError) -> UnsafeMutableRawPointer {
    let place: Int
    if let cached = places[offset] { place = cached } else { place = try takeSlot(for: offset) }
    latest = place
    let memory = unsafe slots[place].memory
    unsafe memset(memory, 0, tableSize)
    return unsafe memory
  }

  func markDirty(_ offset: HostOffset) {
    mayDiffer = true
    if latest < slots.count, slots[latest].offset == offset {
      slots[latest].isDirty = true
    } else if let place = places[offset] {
      slots[place].isDirty = true
    }
  }

  private func near(_ offset: HostOffset) -> Int {
    Int(truncatingIfNeeded: tables.geometry.cluster(of: offset).value) & (Self.nearby - 1)
  }

  private func setPlace(_ place: Int?, of offset: HostOffset) {
    tablesNear[near(offset)] = place == nil ? tablesNear[near(offset)] &- 1 : tablesNear[near(offset)] &+ 1
    places[offset] = place
  }

  /// Throws the cached copies of all tables of a cluster away unwritten.
  @inline(__always)
  func drop(_ cluster: HostOffset) {
    if tablesNear[near(cluster)] != 0 { dropTables(of: cluster) }
  }

  private func dropTables(of cluster: HostOffset) {
    for part in stride(from: 0, to: Int(tables.geometry.clusterSize), by: tableSize) {
      if let place = places[cluster + ByteCount(part)] { forget(place) }
    }
  }

  /// Throws everything away unwritten.
  func dropAll() {
    for place in slots.indices { forget(place) }
    mayDiffer = false
    dependency = nil
    mustFlushFirst = false
  }

  private func forget(_ place: Int) {
    if slots[place].offset != Self.nowhere { setPlace(nil, of: slots[place].offset) }
    slots[place].offset = Self.nowhere
    slots[place].isDirty = false
    slots[place].wasUsed = false
  }

  private func takeSlot(for offset: HostOffset) throws(ImageError) -> Int {
    var place: Int
    if slots.count < capacity {
      guard let memory = unsafe malloc(tableSize) else {
        throw ImageError(.storage, "out of memory for a table of \(tableSize) bytes")
      }
      place = slots.count
      unsafe slots.append(Slot(offset: offset, memory: memory))
    } else {
      // The hand passes every slot twice at most.
      while slots[hand].wasUsed {
        slots[hand].wasUsed = false
        hand = (hand + 1) % slots.count
      }
      place = hand
      hand = (hand + 1) % slots.count
      try makeRoom(place)
      if slots[place].offset != Self.nowhere { setPlace(nil, of: slots[place].offset) }
      slots[place].offset = offset
      slots[place].wasUsed = true
    }
    setPlace(place, of: offset)
    latest = place
    return place
  }

  // MARK: Order on disk

  /// From now on `other` must be on disk before tables of this cache are. Throws as ``write()``.
  func depend(on other: TableCache) throws(ImageError) {
    if other.dependency != nil { try other.flushDependency() }
    if let current = dependency, current !== other { try flushDependency() }
    dependency = other
  }

  /// From now on guest data must be on disk before tables of this cache are.
  func dependOnFlush() { mustFlushFirst = true }

  /// Writes what must be on disk before this cache is, if anything must. Throws as ``write()``.
  func flushDependency() throws(ImageError) {
    guard let other = dependency else { return }
    try other.flush()
    dependency = nil
    mustFlushFirst = false
  }

  /// Writes a slot back that another table gets. Whoever waits for the disk for one table need not wait for the
  /// others, which would all come one by one: a walk over a disk that changes every entry of it.
  private func makeRoom(_ place: Int) throws(ImageError) {
    if slots[place].isDirty, dependency != nil || mustFlushFirst {
      try write()
    } else {
      try writeBack(place)
    }
  }

  private func writeBack(_ place: Int) throws(ImageError) {
    guard slots[place].isDirty else { return }
    if dependency != nil {
      try flushDependency()
    } else if mustFlushFirst {
      do throws(StorageError) { try dataFile?.flush() } catch { throw ImageError(error) }
      try tables.flush()
      mustFlushFirst = false
    }
    try unsafe tables.writeBack(
      UnsafeRawBufferPointer(start: slots[place].memory, count: tableSize), of: structure,
      at: slots[place].offset)
    slots[place].isDirty = false
  }

  /// Writes all changed tables; they may still be in the host's memory afterwards. One that the host does not take
  /// keeps no other from being written. Throws ``ImageError/Code/overlap`` for a table that is something else, and
  /// what the host says.
  func write() throws(ImageError) {
    var failure: ImageError?
    var place = 0
    while let next = nextChanged(from: place) {
      do throws(ImageError) { try writeBack(next) } catch {
        guard error.code == .storage else { throw error }
        // That there is no room says more than what follows from it.
        if failure?.errno != ENOSPC { failure = error }
      }
      place = next + 1
    }
    if let failure { throw failure }
    mayDiffer = false
  }

  /// Puts what has changed in memory only over bytes that were read from the file at `offset`.
  func lay(over bytes: UnsafeMutableRawBufferPointer, at start: HostOffset) {
    guard mayDiffer, let target = bytes.baseAddress else { return }
    let offset = start.value
    let size = UInt64(tableSize)
    let end = offset &+ UInt64(bytes.count)
    var place = offset / size * size
    while place < end {
      if let slot = places[HostOffset(place)], slots[slot].isDirty {
        let (first, last) = (max(place, offset), min(place &+ size, end))
        unsafe memcpy(
          target + Int(first - offset), slots[slot].memory + Int(first - place), Int(last - first))
      }
      place &+= size
    }
  }

  /// The first slot from `place` on whose table has changed. A cache has thousands, and few have.
  private func nextChanged(from place: Int) -> Int? {
    unsafe slots.withUnsafeBufferPointer { slots in
      var place = place
      while place < slots.count, unsafe !slots[place].isDirty { place += 1 }
      return place < slots.count ? place : nil
    }
  }

  /// Writes all changed tables and waits for the disk. Throws as ``write()``.
  func flush() throws(ImageError) {
    try write()
    try tables.flush()
  }
}
