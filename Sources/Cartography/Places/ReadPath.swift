// Who answers a read of one place, and what the answer costs: the layer, its file, the tables that have to be
// looked at and the bytes that have to be read when nothing is in memory yet.

package import Qcow
package import QcowFormat
import Storage

/// What a read of one byte of the disk needs.
package struct ReadPath: Equatable, Sendable {
  /// What the byte comes from.
  package enum Source: String, Sendable {
    case data, compressed, zero, missing
    /// The entry breaks a rule of the format: a read fails.
    case unreadable
  }

  /// What the byte comes from.
  package var source: Source
  /// The layer that answers; 0 is the image itself. If nobody says anything, the last one that was asked.
  package var depth = 0
  /// The file of the answer, as it is named; of an image with an external data file that one.
  package var file: String
  /// The byte in that file; nil where it has no place of its own.
  package var offset: HostOffset?
  /// L2 tables that are looked at, one in every layer that has one for the place.
  package var tables = 0
  /// Bytes of the file that one byte of the guest needs at least: 1, or a whole compressed stream.
  package var bytes: UInt64 = 0
  /// Bytes that are unpacked for it: a whole cluster, or none.
  package var unpacked: UInt64 = 0
  /// The bytes of the file are not those of the guest.
  package var isEncrypted = false

  /// Asks the layers from the top. Reads at most one L2 entry of each.
  ///
  /// - Returns: nil behind the end of the disk.
  package init?(_ guest: GuestOffset, in image: Image) {
    guard guest.value < image.geometry.virtualSize else { return nil }
    source = .zero
    file = image.storage.name
    let layers = image.layers
    for (depth, layer) in layers.enumerated() {
      // Behind the end of a layer everything below it reads as zeroes.
      guard guest.value < layer.virtualSize else { return }
      self.depth = depth
      file = layer.layerName
      if layer.isMissing {
        source = .missing
        return
      }
      if let image = layer as? Image {
        if look(guest, into: image) { return }
      } else {
        raw(guest, layer)
        return
      }
    }
  }

  /// A layer without tables.
  private mutating func raw(_ guest: GuestOffset, _ layer: any GuestLayer) {
    guard let extent = try? layer.layerExtent(at: guest, limit: 1) else {
      source = .unreadable
      return
    }
    guard extent.kind == .data else { return }
    source = .data
    bytes = 1
    offset = extent.offset
  }

  /// What one image says; false if the layer below is asked.
  private mutating func look(_ guest: GuestOffset, into image: Image) -> Bool {
    let geometry = image.geometry
    guard image.l1Entry(geometry.l1Index(of: guest)).table != nil else { return false }
    tables += 1
    guard let entry = try? image.l2Entry(at: guest) else {
      source = .unreadable
      return true
    }
    switch geometry.mapping(of: entry, version: image.header.version) {
    case .unallocated: return false
    case .zero, .zeroMapped: return true
    case .data(let host): data(host + geometry.offsetInCluster(guest.value), image)
    case .compressed(let extent):
      source = .compressed
      bytes = extent.byteCount
      unpacked = geometry.clusterSize
    case .subclusters(let host, let bitmap):
      let bit = UInt32(1) << UInt32(geometry.subcluster(of: guest).value)
      if bitmap.allocated & bit != 0, let host {
        data(host + geometry.offsetInCluster(guest.value), image)
      } else {
        return bitmap.zero & bit != 0
      }
    case .invalid: source = .unreadable
    }
    return true
  }

  private mutating func data(_ host: HostOffset, _ image: Image) {
    source = .data
    bytes = 1
    offset = host
    isEncrypted = image.header.cryptMethod != 0
    if image.hasExternalData { file = image.dataStorage?.name ?? image.extensions.dataFileName ?? file }
  }

  /// "1 L2 table, 1 read"; "no L2 table, no read".
  package var text: String {
    let tables = tables == 0 ? "no L2 table" : counted(tables, "L2 table")
    switch source {
    case .data: return tables + ", 1 read" + (isEncrypted ? ", decrypted" : "")
    case .compressed:
      return "\(tables), 1 read of up to \(bytes) bytes, \(unpacked) bytes unpacked"
    case .zero: return tables + ", no read"
    case .missing: return tables + ", then a layer that is missing"
    case .unreadable: return tables + ", then an error"
    }
  }
}
