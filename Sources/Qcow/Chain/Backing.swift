// Reading through to the backing chain: what the guest sees where an image itself says nothing.

import QcowFormat
import Storage

extension Image {
  /// Reads what the layers below hold; zeroes behind their end or without any.
  func readBelow(_ guest: GuestOffset, into target: UnsafeMutableRawBufferPointer) throws(ImageError) {
    guard let backing else {
      if hasBacking, let backingFileName {
        throw ImageError(
          .unsupported,
          "guest offset \(hex(guest.value)) is in the backing file '\(backingFileName)', which is not open")
      }
      unsafe target.initializeMemory(as: UInt8.self, repeating: 0)
      return
    }
    let size = backing.virtualSize
    let inside = guest.value < size ? Int(min(UInt64(target.count), size - guest.value)) : 0
    if inside > 0 {
      unsafe try backing.readLayer(
        at: guest.value, into: UnsafeMutableRawBufferPointer(rebasing: target[0..<inside]))
    }
    unsafe UnsafeMutableRawBufferPointer(rebasing: target[inside...]).initializeMemory(
      as: UInt8.self, repeating: 0)
  }

  /// Whether the layers below read as zeroes in a range, by their state, without looking at bytes.
  func belowReadsAsZero(_ guest: UInt64, _ count: UInt64) throws(ImageError) -> Bool {
    guard let backing else { return !hasBacking }
    return try Self.readsAsZero(backing, guest, count)
  }

  /// The same for any layer; each layer's unallocated runs ask the next one.
  private static func readsAsZero(
    _ layer: any GuestLayer, _ offset: UInt64, _ count: UInt64
  ) throws(ImageError) -> Bool {
    var position = offset
    let end = min(layer.virtualSize, offset &+ count)
    while position < end {
      let extent = try layer.layerExtent(at: position, limit: end - position)
      guard extent.length > 0 else { return false }
      switch extent.kind {
      case .zero: break
      case .data, .missing: return false
      case .unallocated:
        if let below = layer.layerBelow {
          guard try readsAsZero(below, position, extent.length) else { return false }
        }
      }
      position += extent.length
    }
    return true
  }
}
