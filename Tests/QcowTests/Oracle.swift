// An oracle for the engine: counts by hand who uses which host cluster, and says where that differs
// from the refcounts and the COPIED flags. It shares no code with the engine but the entry types.

import Qcow
import QcowFormat
import Storage

/// What is wrong with an image, in words; empty if nothing is.
func findings(_ image: Image, allowingLeaks: Bool = false) throws -> [String] {
  let geometry = image.geometry
  let clusterSize = geometry.clusterSize
  var users: [UInt64: UInt64] = [:]
  var result: [String] = []
  func use(_ offset: UInt64, _ length: UInt64, _ what: String) {
    guard length > 0 else { return }
    guard offset % clusterSize == 0 || what == "compressed" else {
      return result.append("\(what) at \(offset) is misaligned")
    }
    for cluster in offset / clusterSize...(offset + length - 1) / clusterSize {
      users[cluster, default: 0] += 1
    }
  }
  use(0, clusterSize, "header")
  use(image.header.l1TableOffset, UInt64(image.header.l1Size) * 8, "L1 table")
  use(
    image.header.refcountTableOffset, UInt64(image.header.refcountTableClusters) * clusterSize,
    "refcount table")
  for index in 0..<image.refcountTableCount {
    if let block = image.refcountTableEntry(index).block {
      use(block.value, clusterSize, "refcount block \(index)")
    }
  }
  var copied: [(String, UInt64, Bool)] = []
  for index in 0..<image.l1Count {
    let l1 = image.l1Entry(index)
    guard let table = l1.table, let bytes = try image.l2TableBytes(l1Index: index) else { continue }
    use(table.value, clusterSize, "L2 table \(index)")
    copied.append(("L1[\(index)]", table.value, l1.isCopied))
    for i in 0..<geometry.l2EntriesPerTable {
      let at = i * geometry.l2EntrySize
      let entry = L2Entry(
        descriptor: BigEndian.u64(bytes, at),
        bitmap: SubclusterBitmap(raw: geometry.hasExtendedL2 ? BigEndian.u64(bytes, at + 8) : 0))
      if case .invalid(let fault) = geometry.mapping(of: entry, version: image.header.version) {
        result.append("L1[\(index)] L2[\(i)] is invalid: \(fault)")
      } else if entry.isCompressed {
        let extent = geometry.compressedExtent(of: entry.descriptor)
        use(extent.offset.value, extent.byteCount, "compressed")
      } else if entry.offsetBits != 0 {
        use(entry.offsetBits, clusterSize, "data of L1[\(index)] L2[\(i)]")
        copied.append(("L1[\(index)] L2[\(i)]", entry.offsetBits, entry.isCopied))
      }
    }
  }
  for (what, offset, flag) in copied {
    let count = try image.refcount(of: HostCluster(offset / clusterSize))
    if flag != (count == 1) { result.append("\(what): COPIED is \(flag) and the refcount is \(count)") }
  }
  let end = max(geometry.clustersCovering(image.storage.length), (users.keys.max() ?? 0) + 1) + 64
  for cluster in 0..<end {
    let count = try image.refcount(of: HostCluster(cluster))
    let wanted = users[cluster] ?? 0
    if count < wanted || (count > wanted && !allowingLeaks) {
      result.append("host cluster \(cluster): refcount \(count), \(wanted) users")
    }
  }
  return result
}
