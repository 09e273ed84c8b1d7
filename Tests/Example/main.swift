// The whole of a program that lists where the bytes of an image are: one line per extent with start, length,
// layer, state and place. It sees of the package what any other program sees.

import Glibc
import QatlasKit

func state(_ extent: Extent) -> String {
  if extent.isMissing { return "missing" }
  if extent.isData { return extent.isCompressed ? "compressed" : "data" }
  return "zero"
}

guard CommandLine.arguments.count == 2 else {
  print("usage: extents IMAGE")
  exit(1)
}
do {
  let image = try DiskImage(path: CommandLine.arguments[1])
  print("\(image.format.rawValue), \(image.virtualSize) bytes, \(image.snapshots.count) snapshots")
  var bytes: UInt64 = 0
  try image.forEachExtent { extent in
    let place = extent.offset.map { " at \($0) of \(image.files[extent.depth])" } ?? ""
    print("\(extent.start) \(extent.length) \(extent.depth) \(state(extent))\(place)")
    if extent.isData { bytes += extent.length }
  }
  let first = try image.read(at: 0, count: Int(min(image.virtualSize, 16)))
  print("data \(bytes), first bytes \(first)")
} catch {
  print("error: \(error)")
  exit(2)
}
