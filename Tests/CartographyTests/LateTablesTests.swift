// Tables that come from afar: what is on the screen is asked for before the scan comes to it, and nobody who draws waits.

import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@testable import Cartography

@Suite("Tables that come late", .tags(.fast)) struct LateTablesTests {
  /// Bytes that are only there when they were asked for and have come.
  private final class LateStorage: LookedAtStorage {
    private let base: MemoryStorage
    private(set) var asked: Set<UInt64> = []
    private var isHere: Set<UInt64> = []
    /// Reads of what had not come.
    private(set) var waits = 0
    /// Everything was there until the image is open.
    var isLate = false

    init(_ base: MemoryStorage) { self.base = base }

    var name: String { "late" }
    var refusal: String { "only looked at" }
    var length: UInt64 { base.length }

    private func pages(_ offset: UInt64, _ count: UInt64) -> Range<UInt64> {
      offset / 4096..<(offset + count + 4095) / 4096
    }

    func isReady(at offset: UInt64, count: UInt64) -> Bool {
      guard isLate else { return true }
      asked.formUnion(pages(offset, count))
      return pages(offset, count).allSatisfy(isHere.contains)
    }

    func arrive() { isHere.formUnion(asked) }

    func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) {
      if isLate, !pages(offset, UInt64(buffer.count)).allSatisfy(isHere.contains) {
        waits += 1
        isHere.formUnion(pages(offset, UInt64(buffer.count)))
      }
      try base.read(at: offset, into: buffer)
    }

    func extent(at offset: UInt64) -> HostExtent { base.extent(at: offset) }
  }

  @Test(
    "cells of tables that have not come are unknown, asked for a few at a time, and never waited for",
    arguments: [(false, 3), (false, 0), (true, 1), (true, -3)])
  func late(isExtended: Bool, log2: Int) throws {
    let memory = MemoryStorage()
    var create = Image.CreateOptions(size: 64 << 30)
    create.extendedL2 = isExtended
    try Image.create(on: memory, create)
    var options = Image.Options()
    options.writable = true
    let image = try Image(memory, options: options)
    for at in stride(from: UInt64(0), to: 64 << 30, by: 128 << 20) {
      try [UInt8(1)].withUnsafeBytes { try image.write($0, at: GuestOffset(at + at / 64 % 8192)) }
    }
    try image.close()

    let late = LateStorage(memory)
    let (far, near) = (Atlas(try Image(late)), Atlas(try Image(memory)))
    late.isLate = true
    let clusters = far.image.geometry.clusterCount
    let (first, count) =
      log2 >= 0
      ? (clusters >> UInt64(log2) - 25_000, 20_000) : ((clusters - 9000) << UInt64(-log2), 5000 << -log2)
    let expected = near.guestCells(first: first, cellClustersLog2: log2, count: count)
    #expect(Set(expected.map(\.state)).count > 1)
    var calls = 0
    var cells: [MapCell<GuestState>] = []
    repeat {
      let before = late.asked.count
      cells = far.guestCells(first: first, cellClustersLog2: log2, count: count)
      if calls == 0 { #expect(cells.allSatisfy { !$0.isKnown } && far.needsRefinement) }
      for (cell, wanted) in zip(cells, expected) where cell.isKnown { #expect(cell == wanted) }
      // A few tables of 16 pages each.
      #expect(late.asked.count - before <= 16 * 17)
      late.arrive()
      calls += 1
    } while far.needsRefinement && calls < 500
    #expect(cells == expected && calls > 1)
    // A part of a cluster says more of it, for which its refcount is read.
    #expect(late.waits == (log2 < 0 ? 1 : 0) && !far.isDone)
  }
}
