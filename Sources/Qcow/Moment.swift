// The moments of work on an image at which faults can be injected, by the names of the genuine tool. Most are writes,
// which their tags tell; the others are announced through the door to the tables when something begins.

package import Storage

/// A moment at which a plan of faults may change its mind.
package enum Moment: UInt8, Sendable, CaseIterable {
  case l1Update, l1GrowAllocTable, l1GrowWriteTable, l1GrowActivateTable
  case l2Load, l2Update, l2UpdateCompressed, l2AllocCowRead, l2AllocWrite
  case readAio, readBackingAio, readCompressed, writeAio, writeCompressed
  case vmstateLoad, vmstateSave, cowRead, cowWrite
  case reftableLoad, reftableGrow, reftableUpdate
  case refblockLoad, refblockUpdate, refblockUpdatePart
  case refblockAlloc, refblockAllocHookup, refblockAllocWrite, refblockAllocWriteBlocks
  case refblockAllocWriteTable, refblockAllocSwitchTable
  case clusterAlloc, clusterAllocBytes, clusterFree
  case flushToOs, flushToDisk
  case pwritevRmwHead, pwritevRmwAfterHead, pwritevRmwTail, pwritevRmwAfterTail
  case pwritev, pwritevZero, pwritevDone
  case emptyImagePrepare, l1ShrinkWriteTable, l1ShrinkFreeL2Clusters, corWrite, clusterAllocSpace
  /// The file has been opened.
  case none

  /// "l1_grow_alloc_table".
  package var name: String {
    var name = ""
    for scalar in "\(self)".unicodeScalars {
      // A digit does not begin a word.
      name += scalar.properties.isUppercase ? "_" + String(scalar).lowercased() : String(scalar)
    }
    return name
  }

  /// The moment of a name.
  package init?(name: String) {
    guard let found = Self.allCases.first(where: { $0.name == name }) else { return nil }
    self = found
  }

  /// What a storage that injects faults has to know of writes.
  package static let ofWrites = InjectingStorage.Moments(
    before: { kind, tag in Moment.before(kind, tag).map(\.rawValue) },
    behindWrite: Moment.pwritevDone.rawValue,
    opened: Moment.none.rawValue)

  private static func before(_ kind: StorageEvent.Kind, _ tag: WriteTag) -> [Moment] {
    switch kind {
    case .write: [written(tag), .pwritev].compactMap { $0 }
    case .zero: tag.why == .copyOnWrite ? [.clusterAllocSpace, .pwritevZero] : [.pwritevZero]
    case .punch, .truncate, .flush, .note: []
    }
  }

  /// What a write is by its tag.
  private static func written(_ tag: WriteTag) -> Moment? {
    switch (tag.target, tag.why) {
    case (.l1Table, .link): .l1Update
    case (.l1Table, .newTable): .l1GrowWriteTable
    case (.l1Table, .unlink): .l1ShrinkWriteTable
    case (.header, .newTable): ofHeader(tag)
    case (.l2Table, .writeBack), (.inactiveL2Table, .writeBack): .l2Update
    case (.refcountBlock, .writeBack): .refblockUpdatePart
    // An entry tells what it was and is, a table does not.
    case (.refcountTable, .newTable):
      tag.before == tag.after ? .refblockAllocWriteTable : .refblockAllocHookup
    case (.data, .guestData): .writeAio
    case (.data, .copyOnWrite): .cowWrite
    case (.compressedData, .guestData): .writeCompressed
    default: nil
    }
  }

  private static func ofHeader(_ tag: WriteTag) -> Moment? {
    switch Int(exactly: tag.index) {
    case HeaderField.l1Table.lowerBound: .l1GrowActivateTable
    case HeaderField.refcountTable.lowerBound: .refblockAllocSwitchTable
    default: nil
    }
  }
}
