// Freed in the image, and given back to the host: two things.

import Qcow

extension Lesson {
  static var punching: Lesson {
    Lesson(
      "punching", "Freed is not given back", Setup(size: 1 << 20, isPreallocated: true, policy: .keepMapping),
      steps: [
        Step(
          """
          Whether a cluster stays mapped and whether its bytes go back to the host are two questions. The \
          policy here is keep-mapping.
          """),
        Step("write -P 0x44 0 128k", "Data in two clusters."),
        Step(
          "discard 0 64k", shows: "kept",
          """
          Cluster 0 stays mapped, refcount 1, and its range of the file is a hole: \(key: .otherSide) jumps there, \(key: .hex) shows \
          zeroes. The place is kept, the host's space is not.
          """),
        Step(
          "write -z 64k 64k", shows: "kept",
          """
          A zero-write keeps both: mapping and bytes. The old 44 are still in the file, unreadable through \
          the image. QEMU's pass-discard options decide which frees punch holes; 'qatlas io --image-opts' \
          takes the same words.
          """),
      ])
  }
}
