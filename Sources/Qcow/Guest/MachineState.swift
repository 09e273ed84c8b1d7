// Saved machine state: bytes that lie behind the disk, in the same tables, and that no request of a guest reaches.
// Snapshots keep them like the disk.

import QcowFormat

/// The area for machine state of an image.
struct MachineState {
  private let image: Image

  init(_ image: Image) { self.image = image }

  /// Reads state, so many bytes behind the start of the area; what was never written reads as the disk would there.
  /// Throws ``ImageError/Code/misaligned`` unless these are whole sectors, and as ``GuestReader/read(at:into:)``.
  func read(at offset: ByteCount, into buffer: UnsafeMutableRawBufferPointer) throws(ImageError) {
    let guest = try place(offset, ByteCount(buffer.count))
    image.tables.reach(.vmstateLoad)
    try image.health.guarded { () throws(ImageError) in unsafe try image.reader.read(at: guest, into: buffer)
    }
  }

  /// Writes state there. The L1 table grows if it must. Bitmaps do not record it, for it is no change of the disk.
  /// Throws as ``read(at:into:)``, ``ImageError/Code/noSpace`` for a place that no L1 table reaches, and as
  /// ``GuestWriter``.
  func write(_ bytes: UnsafeRawBufferPointer, at offset: ByteCount) throws(ImageError) {
    let writer = try image.changing()
    let guest = try place(offset, ByteCount(bytes.count))
    image.tables.reach(.vmstateSave)
    try image.health.guarded { () throws(ImageError) in
      try writer.bitmaps?.mark(with: writer.editor)
      unsafe try writer.writeData(bytes, at: guest)
      if image.options.cache == .writethrough { try writer.editor.flush() }
    }
  }

  /// Where a part of the state has its entries.
  private func place(_ offset: ByteCount, _ count: ByteCount) throws(ImageError) -> GuestOffset {
    guard offset.value % 512 == 0, count.value % 512 == 0 else {
      throw ImageError(.misaligned, "machine state is read and written in whole sectors of 512 bytes")
    }
    let start = image.geometry.stateStart?.value ?? .max
    let (place, overflow) = start.addingReportingOverflow(offset.value)
    guard !overflow, place <= UInt64(Int64.max) - count.value else {
      throw ImageError(
        .invalidRequest, "machine state at \(hex(offset.value)) lies behind what can be addressed")
    }
    return GuestOffset(place)
  }
}
