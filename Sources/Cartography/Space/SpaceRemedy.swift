// What moves a size or brings space back, declared once: as a line for a shell and as a command of the explorer.

import Qcow

/// A verb that changes how much an image takes.
package enum SpaceRemedy: Equatable, Sendable {
  case resize, discard, deleteSnapshot, removeBitmap, removeBitmaps, repairLeaks, defrag, copy, copyCompressed

  /// The words behind the program's name. `image` is the file; `name` is the snapshot or bitmap that is meant.
  package func shell(_ image: String = "IMAGE", _ name: String = "NAME") -> String {
    switch self {
    case .resize: "resize \(image) SIZE"
    case .discard: "io -c 'discard OFF LEN' \(image)"
    case .deleteSnapshot: "snapshot -d \(name) \(image)"
    case .removeBitmap: "bitmap --remove \(image) \(name)"
    case .removeBitmaps: "bitmap --remove-all \(image)"
    case .repairLeaks: "check -r leaks \(image)"
    case .defrag: "defrag \(image)"
    case .copy: "convert -O qcow2 \(image) NEW"
    case .copyCompressed: "convert -c -O qcow2 \(image) NEW"
    }
  }

  /// The command of the explorer, and what stands behind it. `name` is the snapshot or bitmap that is meant.
  package func explorer(_ name: String = "NAME") -> String {
    switch self {
    case .resize: ":\(Resize.words.name) SIZE"
    case .discard: ":discard OFF LEN"
    case .deleteSnapshot: ":\(DeleteSnapshot.words.name) \(name)"
    case .removeBitmap: ":\(RemoveBitmap.words.name) \(name)"
    case .removeBitmaps: ":\(RemoveAllBitmaps.words.name)"
    case .repairLeaks: ":\(Repair.words.name) \(RepairScope.leaks.rawValue)"
    case .defrag: ":\(Defrag.words.name)"
    case .copy: ":convert NEW"
    case .copyCompressed: ":convert -c NEW"
    }
  }
}
