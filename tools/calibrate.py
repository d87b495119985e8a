"""Fit a temperature on the validation set, so that scores are probabilities, and measure it on the test set."""
import argparse

from ftcls import apis


def main() -> None:
    """Calibrate and print NLL and ECE before and after."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('checkpoint', help='file or URL')
    parser.add_argument(
        '--out-dir',
        help='folder for calibrated.pth, calibration.json, reliability.png; default: <work dir>/calibration')
    parser.add_argument('--bins', type=int, default=15, help='bins of the reliability figure (default: 15)')
    parser.add_argument('--device', help='for example cpu or cuda:0; default: the GPU if there is one')
    apis.add_config_options(parser)
    args = parser.parse_args()
    apis.check_writable(out_dir=args.out_dir)
    cfg = apis.load_config(args.config, args.cfg_options)
    print(apis.calibrate(cfg, args.checkpoint, args.out_dir, bins=args.bins, device=args.device).text())


if __name__ == '__main__':
    apis.run_tool(main)
