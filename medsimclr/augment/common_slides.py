"""Stains of common H&E: what stain policies draw from until they are fitted.

Measured, not edited: `python benchmarks/common_stains.py DATA` prints this file, and says of which
slides and patients.
"""

import numpy as np

from medsimclr.augment.macenko import SlideStain
from medsimclr.augment.stain_statistics import SpaceStatistics, TemplateStatistics

__all__ = ["COMMON_SLIDES", "COMMON_TEMPLATES"]

# Haematoxylin, eosin (3 each), maxima (2) and mean (3) in thousandths, then the upper half of the
# covariance (6) in hundred-thousandths of optical density.
_TABLE = """
761 453 463 260 888 380 806 856 303 442 323 1544 1571 1092 4262 1930 1156
681 505 529 0 977 212 1024 832 172 475 231 2394 1131 1567 4534 1627 1567
703 481 524 431 809 401 676 742 297 381 298 1484 1707 1168 2476 1464 1045
780 437 448 290 889 354 760 872 326 407 337 1968 2002 1301 3602 1752 1151
643 577 503 358 906 227 1153 873 316 496 274 4023 4903 2810 6825 3638 2351
895 243 375 256 841 476 1016 1431 380 428 340 5819 6011 4497 7894 5416 4083
683 483 548 262 883 390 963 1313 275 462 348 2776 4125 2625 8420 4661 3083
616 595 517 326 916 233 1159 1062 280 583 376 3396 4928 2563 8626 3889 2251
515 749 417 20 930 366 1350 919 207 646 375 2386 3441 1835 7969 3801 2275
644 658 391 138 975 176 1348 973 272 648 328 4217 6537 2674 13053 4646 2108
577 692 435 156 914 373 906 625 186 414 294 1059 1371 792 2824 1405 882
616 621 485 428 875 225 999 517 257 412 247 1791 2061 1289 2700 1481 1025
609 675 417 277 937 215 1027 406 225 375 184 1546 1344 995 1425 915 752
377 786 490 0 905 426 1268 1211 98 719 365 1208 1325 940 6942 3642 2220
665 582 469 183 886 425 936 727 285 511 337 1594 1216 1018 2673 1475 1050
573 708 412 152 988 36 949 600 225 470 169 1279 1244 873 2210 843 744
655 634 411 162 983 92 909 865 292 654 228 1848 2850 1069 8148 1731 788
497 727 474 183 979 87 1345 772 236 690 316 2375 3633 1949 7241 3261 2071
606 552 573 474 848 239 1372 808 321 429 274 4353 4806 3489 5793 3909 3080
598 616 513 280 860 428 1346 915 307 515 363 3407 4729 3285 7500 4896 3385
637 608 474 455 872 182 867 642 269 431 255 1809 2163 1098 2990 1307 807
641 603 475 293 901 321 939 801 360 624 386 2022 2545 1512 5035 2297 1422
648 707 282 238 969 71 1486 1120 341 585 142 5031 7263 1931 12792 2957 1171
804 512 303 62 890 451 2623 2226 603 1114 671 23016 23954 13279 36850 19266 11667
378 769 515 104 891 443 1745 1386 268 1023 571 2114 4997 3132 15564 9149 5629
527 727 440 115 828 548 2047 674 272 591 390 5028 6271 3756 8723 5211 3256
"""


def _slide_stain(line: str) -> SlideStain:
    thousandths, of_covariance = np.split(np.array(line.split(), dtype=np.float64), [11])
    row = (thousandths / 1e3).tolist()
    rr, rg, rb, gg, gb, bb = (of_covariance / 1e5).tolist()
    return SlideStain(
        haematoxylin=(row[0], row[1], row[2]),
        eosin=(row[3], row[4], row[5]),
        maxima=(row[6], row[7]),
        od_mean=(row[8], row[9], row[10]),
        od_covariance=((rr, rg, rb), (rg, gg, gb), (rb, gb, bb)),
    )


COMMON_SLIDES: tuple[SlideStain, ...] = tuple(map(_slide_stain, _TABLE.strip().splitlines()))
"""Stains of the slides."""

COMMON_TEMPLATES = TemplateStatistics(
    lab=SpaceStatistics(
        mean_center=(62.47, 24.48, -14.67),
        mean_spread=(5.068, 11.11, 9.323),
        std_center=(9.56, 8.42, 6.692),
        std_spread=(2.672, 2.96, 2.758),
    ),
    hed=SpaceStatistics(
        mean_center=(0.4125, 0.2153, 0.2991),
        mean_spread=(0.1992, 0.1839, 0.1613),
        std_center=(0.2693, 0.1618, 0.1305),
        std_spread=(0.1623, 0.09209, 0.06179),
    ),
    hsv=SpaceStatistics(
        mean_center=(180.4, 0.2864, 0.7461),
        mean_spread=(19.61, 0.1163, 0.05908),
        std_center=(21.37, 0.0967, 0.09516),
        std_spread=(13.29, 0.02926, 0.02798),
    ),
)
"""Distributions over the same slides, and those whose vectors were not believed."""
